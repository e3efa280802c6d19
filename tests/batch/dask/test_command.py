"""``wasmpool run --dask``, with a cluster in a thread of the tests."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio
from tests.batch.dask.conftest import open_in_thread
from tests.cli.in_process import run_here

from wasmpool._batch.dask import connection, extra

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


@contextmanager
def cluster(directory: Path) -> Iterator[str]:
    """The address of a cluster of two workers, for a program that is not in trio."""
    addresses: list[str] = []
    ready, ending = threading.Event(), threading.Event()

    async def main() -> None:
        async with open_in_thread(str(directory), 2) as opened:
            addresses.append(opened.address)
            ready.set()
            await trio.to_thread.run_sync(ending.wait)

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    assert ready.wait(60)
    try:
        yield addresses[0]
    finally:
        ending.set()
        thread.join()


def test_the_output_is_that_of_a_plain_run(tmp_path: Path) -> None:
    """Byte for byte, with numbers and lines that fail; the table says where it was done."""
    lines = [f"some words {number}" for number in range(500)]
    lines[77] = "{no json"
    text = tmp_path / "in.txt"
    text.write_text("\n".join(lines))
    plain, dask = tmp_path / "plain.jsonl", tmp_path / "dask.jsonl"
    options = ("run", "--input", text, "--number")
    assert run_here(*options, "--output", plain).returncode == 1
    with cluster(tmp_path) as address:
        done = run_here(*options, "--output", dask, "--dask", address)
    assert done.returncode == 1, done.stderr
    assert dask.read_bytes() == plain.read_bytes()
    assert address in done.stderr
    assert "500" in done.stderr


def test_a_mistake_leaves_the_output_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A form that is none, a scheduler that is not there, and two ways at once."""
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.5)
    output = tmp_path / "out.jsonl"
    output.write_text("kept\n")
    for options, sentence in (
        (("--dask", "nowhere"), "'nowhere' is not the address of a scheduler"),
        (("--dask", "127.0.0.1:9"), "--dask: there is no scheduler of Dask at tcp://127.0.0.1:9"),
        (("--dask", "local", "--processes", "2"), "--processes and --dask exclude each other"),
    ):
        done = run_here("run", "--output", output, *options)
        assert done.returncode == 2
        assert sentence in done.stderr
    assert output.read_text() == "kept\n"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setattr(extra, "find_spec", lambda _: None)
    done = run_here("run", "--dask", "local")
    assert done.returncode == 2
    assert '--dask needs distributed: pip install "wasmpool[dask]"' in done.stderr
