"""A guest's descriptors: their table, the base class of directories, and the standard streams."""

# a directory refuses operations, whatever the arguments

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, final

from . import rights as rights_module
from .config import as_bytes
from .descriptor import Descriptor
from .directory import Directory
from .errno import Errno, WasiError
from .layout import FileType
from .line_log import LineLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


__all__ = ["Descriptors", "Input", "Output", "why_unlike_new"]

# Each is also a descriptor of this process (two for a directory that is being listed), and 1,024 is
# the usual limit of the whole process: one guest must not use them all.
MAX_OPEN = 256

_FIRST_FREE = 3  # a file never becomes a standard stream that the guest has closed


@final
class Input(Descriptor):
    """Standard input: the bytes of ``Wasi.stdin``, from the start."""

    __slots__ = ("_data", "_position")

    rights = rights_module.INPUT

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data
        self._position = 0

    def read(self, size: int) -> bytes:
        data = self._data[self._position : self._position + size]
        self._position += len(data)
        return data

    def ready(self) -> int:
        return len(self._data) - self._position

    @property
    def was_read(self) -> bool:
        """True if some of it is gone."""
        return self._position > 0


@final
class Output(Descriptor):
    """Standard output or error, written to the target of ``Wasi.stdout`` or ``Wasi.stderr``.

    It reports a character device without the right to seek, as a terminal does: C libraries then
    write each line when it ends. Otherwise they would wait until a buffer is full, or for an exit,
    which never comes in a plugin.
    """

    __slots__ = ("_target",)

    filetype = FileType.CHARACTER_DEVICE
    rights = rights_module.OUTPUT

    def __init__(self, target: LineLog | Callable[[bytes], object] | None) -> None:
        super().__init__()
        self._target = target

    def write(self, data: bytes) -> int:
        if isinstance(self._target, LineLog):
            return self._target.write(data)
        if self._target is not None:
            self._target(data)
        return len(data)

    def close(self) -> None:
        if isinstance(self._target, LineLog):
            self._target.close()


@final
class Descriptors:
    """The open descriptors of one guest, by number."""

    __slots__ = ("_open",)

    # Invariant: a descriptor is either here under exactly one number, or closed. The tests' fixture
    # counts the system's descriptors; test_renumbering_* and test_closing_* try to break this.

    def __init__(self) -> None:
        self._open: dict[int, Descriptor] = {}

    def __iter__(self) -> Iterator[tuple[int, Descriptor]]:
        return iter(sorted(self._open.items()))

    def find(self, fd: int) -> Descriptor | None:
        """The descriptor, or None if it is not open."""
        return self._open.get(fd)

    def get(self, fd: int) -> Descriptor:
        """The descriptor; raises ``BADF`` if it is not open."""
        try:
            return self._open[fd]
        except KeyError:
            raise WasiError(Errno.BADF) from None

    def check_room(self) -> None:
        """Raise ``MFILE`` if no more are allowed. Call it before a file is opened or created."""
        if len(self._open) >= MAX_OPEN:
            raise WasiError(Errno.MFILE)

    def add(self, descriptor: Descriptor) -> int:
        """Add it under the lowest free number from 3 on, and return the number."""
        fd = _FIRST_FREE
        while fd in self._open:
            fd += 1
        self._open[fd] = descriptor
        return fd

    def put(self, fd: int, descriptor: Descriptor) -> None:
        """Add it under this number, which must be free: for the standard streams."""
        self._open[fd] = descriptor

    def close(self, fd: int) -> None:
        """Close it; its number is free afterwards."""
        descriptor = self.get(fd)
        del self._open[fd]
        descriptor.close()

    def renumber(self, fd: int, to: int) -> None:
        """Close `to`, and move `fd` there. Both must be open, so a guest cannot choose a number."""
        descriptor, replaced = self.get(fd), self.get(to)
        if fd == to:
            return
        del self._open[fd]
        self._open[to] = descriptor
        replaced.close()

    def close_frees_large_file(self) -> bool:
        """Return True if closing them frees a large file."""
        return any(each.close_frees_large_file() for each in self._open.values())

    def close_streams(self) -> None:
        """Close the descriptors without a file."""
        files = {fd: each for fd, each in self._open.items() if each.device is not None}
        streams = [each for each in self._open.values() if each.device is None]
        self._open = files
        self._close(streams)

    def close_all(self) -> None:
        """Close all descriptors."""
        descriptors, self._open = list(self._open.values()), {}
        self._close(descriptors)

    def _close(self, descriptors: list[Descriptor]) -> None:
        with ExitStack() as stack:
            # The stack reverses the order: stdout has to be closed before stderr.
            for descriptor in reversed(descriptors):
                stack.callback(descriptor.close)


def why_unlike_new(descriptors: Descriptors, preopened: Sequence[str]) -> str | None:
    """Return what distinguishes the descriptors from those at the start; None if nothing does.

    Args:
        descriptors: those that are open now.
        preopened: the guest's paths of the directories that were open at the start.

    Flags do not count: streams and directories only store them, and Go's runtime sets them.
    """
    missing = set(range(_FIRST_FREE + len(preopened)))
    for fd, each in descriptors:
        missing.discard(fd)
        if fd >= _FIRST_FREE and not _is_preopened(each, fd, preopened):
            kind = "directory" if isinstance(each, Directory) else "file"
            return f"a {kind} is open as descriptor {fd}"
        if isinstance(each, Input) and each.was_read:
            return "standard input was read"
    return f"descriptor {min(missing)} is closed" if missing else None


def _is_preopened(descriptor: Descriptor, fd: int, preopened: Sequence[str]) -> bool:
    """Return True if it is the directory that had this number at the start."""
    at = fd - _FIRST_FREE
    if at >= len(preopened) or not isinstance(descriptor, Directory):
        return False
    return descriptor.guest_path == as_bytes(preopened[at])
