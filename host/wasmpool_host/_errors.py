"""What can go wrong with one instance; each message names the thing and the values.

Every error belongs to a family, so that one ``except`` says what an application means.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import attrs

from ._escape import escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CallTimeout",
    "CompileError",
    "Frame",
    "GuestError",
    "GuestExit",
    "GuestMemoryError",
    "GuestTrap",
    "InstanceClosed",
    "InstanceError",
    "InstancePoisoned",
    "LinkError",
    "ModuleError",
    "WasmpoolError",
]


class WasmpoolError(Exception):
    """Any error of this library's own. Misuse is RuntimeError, TypeError or ValueError instead."""


class ModuleError(WasmpoolError):
    """The module cannot be used: it is not valid, or does not fit its host or the plugin ABI."""


class GuestError(WasmpoolError):
    """The guest ended its call: it trapped, exited, took too long, or gave a bad pointer."""


class InstanceError(WasmpoolError):
    """The instance does not serve: it is poisoned or closed."""


class CompileError(ModuleError):
    """The source is no valid module, or it needs a feature that is out of scope."""


class LinkError(ModuleError):
    """The module and its host do not fit: imports nobody provides, or an export that is missing."""


@attrs.frozen
class Frame:
    """One function on the guest's stack when it trapped, innermost first in `GuestTrap.frames`."""

    function: str
    """The function's name in the module's name section, else ``function[INDEX]``."""
    offset: int
    """Where in the module's bytes the function had come to; 0 if it is not known."""

    def __str__(self) -> str:
        function = escaped(self.function)
        return f"{function} at 0x{self.offset:x}" if self.offset else function


class GuestTrap(GuestError):
    """The guest trapped.

    Attributes:
        code: why, in the words of the trap itself: ``"unreachable"``, ``"memory-out-of-bounds"``,
            ``"stack-overflow"``, ...
        message: one sentence that names the export and the reason.
        frames: the guest's stack, innermost first.
    """

    def __init__(self, code: str, message: str, frames: Sequence[Frame] = ()) -> None:
        super().__init__(code, message, tuple(frames))
        self.code: str = code
        self.message: str = message
        self.frames: tuple[Frame, ...] = tuple(frames)

    def __str__(self) -> str:
        lines = [self.message]
        for function, run in itertools.groupby(self.frames, lambda frame: frame.function):
            first, *more = run
            again = f" ({len(more) + 1} times)" if more else ""
            lines.append(f"  in {first if not more else escaped(function)}{again}")
        return "\n".join(lines)


class GuestExit(GuestError):
    """The guest called WASI's ``proc_exit``; ``status`` is what it gave, as an unsigned number."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status: int = status

    def __str__(self) -> str:
        return f"the guest exited with status {self.status}"


class GuestMemoryError(GuestError):
    """A pointer or a size outside the guest's memory, or above a limit; or too many tables."""


class CallTimeout(GuestError):
    """The call took longer than ``limits.call_seconds`` allows."""


class InstancePoisoned(InstanceError):
    """A call on an instance that may not serve again; the message says what happened to it."""


class InstanceClosed(InstanceError):
    """A call on an instance that is closed, or was closed while the call was under way."""
