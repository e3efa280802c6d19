"""How a guest ended, in errors and in the words of poison."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from wasmpool_host._errors import CallTimeout, GuestExit, GuestMemoryError, GuestTrap

if TYPE_CHECKING:
    from wasmpool_host import _capi

__all__ = ["poison_reason", "trapped"]


def trapped(stop: _capi.Failure, label: str) -> Exception:
    """The error for a guest that stopped short."""
    if stop.code is not None:
        return GuestTrap(stop.code, f"{label} trapped: {stop.message}", stop.frames)
    if "memory" in stop.message.lower():
        return MemoryError(f"{label}: {stop.message}")
    return GuestTrap("error", f"{label} could not go on: {stop.message}", stop.frames)


def poison_reason(error: BaseException, *, by_host: bool = False) -> str:
    """What an instance is poisoned with when a call ends so: a word of `Instance.poisoned`.

    ``by_host``: a host function raised it. A Ctrl-C there is an exception like any other; elsewhere
    it stops a guest that computes, as a cancel does.
    """
    if _is_only(error, trio.Cancelled if by_host else (trio.Cancelled, KeyboardInterrupt)):
        return "cancelled"
    match error:
        case GuestTrap():
            return "trap"
        case GuestExit():
            return "exit"
        case GuestMemoryError():
            return "bad-pointer"
        case CallTimeout():
            return "timeout"
        case _:
            return "host-error"


def _is_only(
    error: BaseException, kinds: type[BaseException] | tuple[type[BaseException], ...]
) -> bool:
    """Return True if it is of these kinds, or a group of nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_only(each, kinds) for each in error.exceptions)
    return isinstance(error, kinds)
