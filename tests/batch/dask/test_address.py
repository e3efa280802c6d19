from __future__ import annotations

import os

import pytest

from wasmpool._batch.dask.address import Local, Remote, read_address


@pytest.mark.parametrize(
    ("given", "scheduler"),
    [
        ("host:8786", "tcp://host:8786"),
        ("tcp://10.1.2.3:8786", "tcp://10.1.2.3:8786"),
        ("tls://scheduler.example.com:443", "tls://scheduler.example.com:443"),
        ("[::1]:8786", "tcp://[::1]:8786"),
        ("wss://host:443", "wss://host:443"),
    ],
)
def test_the_address_of_a_scheduler(given: str, scheduler: str) -> None:
    """A scheme may be left out."""
    assert read_address(given) == Remote(scheduler)


def test_a_local_cluster_has_a_worker_for_each_cpu_unless_it_says_how_many() -> None:
    """Its number follows a colon."""
    assert read_address("local") == Local(len(os.sched_getaffinity(0)))
    assert read_address("local:4") == Local(4)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "host",
        "host:",
        "host:0",
        "host:70000",
        "http://host:8786",
        "tcp://host",
        "tcp://host:8786/path",
        "tcp://user@host:8786",
        "::1:8786",
        "host:8786\n",
        "localhost",
        "locall",
    ],
)
def test_what_is_no_address(given: str) -> None:
    """The message says what there is."""
    with pytest.raises(ValueError, match="is not the address of a scheduler: give HOST:PORT"):
        read_address(given)


@pytest.mark.parametrize("given", ["local:0", "local:1000"])
def test_a_local_cluster_has_some_workers_and_not_too_many(given: str) -> None:
    """A mistake in typing starts no thousand processes."""
    with pytest.raises(ValueError, match="1 to 256 workers"):
        read_address(given)


def test_the_message_escapes_and_cuts_what_was_given() -> None:
    """What was given may be anything."""
    with pytest.raises(ValueError, match="is not the address") as caught:
        read_address("\x1b[31m" + "x" * 10_000)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000
