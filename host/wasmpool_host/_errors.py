"""The errors of modules and instances; each message names the object and the values.

Every error belongs to a family, so that an application can handle a family with one ``except``.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from ._escape import escaped
from ._record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CallTimeout",
    "CompileError",
    "ExtismError",
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
    "SnapshotError",
    "WasmpoolError",
]


class WasmpoolError(Exception):
    """Base class of this library's errors. Misuse raises RuntimeError, TypeError or ValueError."""


class ModuleError(WasmpoolError):
    """The module cannot be used: it is invalid, or does not match its host or the plugin ABI."""


class GuestError(WasmpoolError):
    """The guest ended its call: it trapped, exited, took too long, or gave a bad pointer.

    Attributes:
        stdout, stderr: what the guest had written, where a run captured it.
    """

    stdout: bytes = b""
    stderr: bytes = b""


class InstanceError(WasmpoolError):
    """The instance cannot be used: it is poisoned or closed."""


class CompileError(ModuleError):
    """The source is no valid module, or it needs a feature that is not supported."""


class LinkError(ModuleError):
    """The module and its host do not match: an import is not provided, or an export is missing."""


class SnapshotError(ModuleError):
    """No snapshot can be made of what the module has, or of what its setup did; it says of what."""


class Frame(Record):
    """One function on the guest's stack at the time of a trap; see `GuestTrap.frames`."""

    __slots__ = __match_args__ = ("function", "offset")

    function: str
    """The function's name in the module's name section, else ``function[INDEX]``."""
    offset: int
    """The offset of its current instruction in the module's bytes; 0 if unknown."""

    def __init__(self, function: str, offset: int) -> None:
        self._fill(function, offset)

    def __str__(self) -> str:
        function = escaped(self.function)
        return f"{function} at 0x{self.offset:x}" if self.offset else function


class GuestTrap(GuestError):
    """The guest trapped.

    Attributes:
        code: the kind of trap: ``"unreachable"``, ``"memory-out-of-bounds"``,
            ``"stack-overflow"``, ``"uncaught-exception"``, ``"out-of-memory"`` (no room for its
            objects), ...
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
    """The guest called WASI's ``proc_exit``.

    Attributes:
        status: its argument, as an unsigned number.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status: int = status

    def __str__(self) -> str:
        return f"the guest exited with status {self.status}"


class GuestMemoryError(GuestError):
    """A pointer or size is outside the guest's memory or above a limit; or too many tables."""


class ExtismError(GuestError):
    """An Extism plugin set an error, or an export of it returned another number than 0.

    Its instance serves on, as the guest has ended as it wanted to. Where a host function refused
    what the guest asked for, the guest was stopped, and its instance does not serve again.

    Attributes:
        text: what the guest said, not escaped, at most its first 4 KiB; empty if it set no error.
        status: what the export returned; None where a host function refused.
    """

    def __init__(self, label: str, text: str, status: int | None = None) -> None:
        super().__init__(label, text, status)
        self.text: str = text
        self.status: int | None = status

    def __str__(self) -> str:
        label, text, status = self.args
        if text:
            return f"{label}: {escaped(text)}"
        return f"{label} returned {status}, and set no error"


class CallTimeout(GuestError):
    """The call took longer than ``limits.call_seconds`` allows."""


class InstancePoisoned(InstanceError):
    """A call on an instance that must not be used again; the message says what happened to it."""


class InstanceClosed(InstanceError):
    """A call on an instance that is closed, or was closed during the call."""
