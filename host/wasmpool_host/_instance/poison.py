"""How a guest ended: the error for it, and the word of `Instance.poisoned`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from wasmpool_host._errors import CallTimeout, GuestExit, GuestMemoryError, GuestTrap

if TYPE_CHECKING:
    from wasmpool_host import _capi

__all__ = ["FINISHED", "poison_reason", "trapped"]

FINISHED: Final = "finished"
"""The word of `Instance.poisoned` for an instance whose program has ended."""


def trapped(failure: _capi.Failure, label: str) -> Exception:
    """Return the error for a guest that has ended without returning."""
    if failure.code is not None:
        return GuestTrap(failure.code, f"{label} trapped: {failure.message}", failure.frames)
    if "memory" in failure.message.lower():
        return MemoryError(f"{label}: {failure.message}")
    return GuestTrap("error", f"{label} could not go on: {failure.message}", failure.frames)


def poison_reason(error: BaseException, *, by_host: bool = False) -> str:
    """Return the word of `Instance.poisoned` for a call that ends with this error.

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
    """Return True if it is of these kinds, or a group of only such errors."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_only(each, kinds) for each in error.exceptions)
    return isinstance(error, kinds)
