"""What Dask's errors mean for a chunk: once more, lost with its workers, or the end of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distributed import KilledWorker
from distributed.client import ClosedClientError, FutureCancelledError

from wasmpool._batch.places import PlaceLost, PlacesFailed

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["gone", "meaning_of"]

_FORGOTTEN: Final = frozenset({"scheduler-restart", "lost dependencies"})
"""Dask's reasons for a task that it has dropped while the scheduler goes on."""

_CONNECTION_LOST: Final = "scheduler-connection-lost"


def gone(scheduler: str) -> PlacesFailed:
    """Return what is raised when the connection to the scheduler is lost."""
    return PlacesFailed(f"the scheduler {scheduler} is gone")


def meaning_of(
    error: Exception, scheduler: str, out_of_memory: Container[str]
) -> PlaceLost | PlacesFailed | None:
    """Return what is raised for an error of a task; None if it is to be given to Dask again.

    Args:
        error: that waiting for a task has raised.
        scheduler: its address.
        out_of_memory: the addresses of workers that were ended because of their memory.
    """
    match error:
        case KilledWorker():
            return PlaceLost(_ending(error, out_of_memory))
        case FutureCancelledError(reason=reason) if reason in _FORGOTTEN:
            return None
        case FutureCancelledError(reason=reason) if reason != _CONNECTION_LOST:
            return PlacesFailed(f"the scheduler {scheduler} has dropped the work")
        case FutureCancelledError() | ClosedClientError() | OSError():
            return gone(scheduler)
        case _ if _is_missing(error):
            return PlacesFailed(
                f"the scheduler {scheduler}, or a worker of it, has no wasmpool: install"
                ' "wasmpool[dask]" there, in the version of this side'
            )
        case _:
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return PlacesFailed(f"Dask could not run the work: {what}")


def _ending(error: KilledWorker, out_of_memory: Container[str]) -> str:
    """Say how the workers ended that had the chunk."""
    address, count = error.last_worker.address, error.allowed_failures + 1
    which = f"the worker {address} ended while it did this chunk"
    if count > 1:
        which = f"{count} workers ended while they did this chunk, the last one was {address}"
    return f"{which}: it used too much memory" if address in out_of_memory else which


def _is_missing(error: BaseException | None) -> bool:
    """Return True if a module of wasmpool could not be imported on the other side."""
    while error is not None:
        name = error.name if isinstance(error, ModuleNotFoundError) else None
        if name is not None and name.partition(".")[0] in {"wasmpool", "wasmpool_host"}:
            return True
        error = error.__cause__ or error.__context__
    return False
