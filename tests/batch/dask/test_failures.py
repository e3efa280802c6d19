from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from distributed import KilledWorker
from distributed.client import ClosedClientError, FutureCancelledError

from wasmpool._batch.dask.failures import meaning_of
from wasmpool._batch.places import PlaceLost, PlacesFailed

SCHEDULER = "tcp://scheduler:1"


def killed(allowed_failures: int) -> KilledWorker:
    last: Any = SimpleNamespace(address="tcp://worker:2")
    return KilledWorker("key", last, allowed_failures)


@pytest.mark.parametrize(
    ("allowed_failures", "out_of_memory", "sentence"),
    [
        (0, [], "the worker tcp://worker:2 ended while it did this chunk"),
        (
            1,
            ["tcp://worker:2"],
            (
                "2 workers ended while they did this chunk, the last one was tcp://worker:2: it"
                " used too much memory"
            ),
        ),
    ],
)
def test_workers_that_ended_lose_the_chunk(
    allowed_failures: int, out_of_memory: list[str], sentence: str
) -> None:
    """The sentence has the end, for the rows of its lines."""
    meaning = meaning_of(killed(allowed_failures), SCHEDULER, out_of_memory)
    assert isinstance(meaning, PlaceLost)
    assert str(meaning) == sentence


@pytest.mark.parametrize("reason", ["scheduler-restart", "lost dependencies"])
def test_a_task_that_was_forgotten_is_given_to_dask_again(reason: str) -> None:
    """It is not the fault of the chunk."""
    assert meaning_of(FutureCancelledError("key", reason), SCHEDULER, []) is None


@pytest.mark.parametrize(
    "error",
    [
        FutureCancelledError("key", "scheduler-connection-lost"),
        ClosedClientError(),
        OSError("closed"),
    ],
)
def test_a_scheduler_that_is_gone_ends_the_batch(error: Exception) -> None:
    """The sentence names it."""
    meaning = meaning_of(error, SCHEDULER, [])
    assert isinstance(meaning, PlacesFailed)
    assert str(meaning) == "the scheduler tcp://scheduler:1 is gone"


def test_a_task_that_somebody_has_cancelled_ends_the_batch() -> None:
    """It may have been on purpose."""
    meaning = meaning_of(FutureCancelledError("key", "unknown"), SCHEDULER, [])
    assert str(meaning) == "the scheduler tcp://scheduler:1 has dropped the work"


def test_a_side_without_wasmpool_is_told_what_to_install() -> None:
    """Also where the reason is the cause of another error."""
    error = RuntimeError("Error during deserialization of the task graph")
    error.__cause__ = ModuleNotFoundError("No module", name="wasmpool._batch.dask")
    meaning = meaning_of(error, SCHEDULER, [])
    assert isinstance(meaning, PlacesFailed)
    assert 'has no wasmpool: install "wasmpool[dask]" there' in str(meaning)


def test_any_other_error_is_named() -> None:
    """With its class."""
    assert str(meaning_of(KeyError("x"), SCHEDULER, [])) == (
        "Dask could not run the work: KeyError: 'x'"
    )
