"""One entry of a directory, which may be missing, and what can be done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .descriptor import Descriptor
    from .layout import FdFlag, OFlag, Status
    from .rights import Right

__all__ = ["Entry"]


class Entry(Protocol):
    """Where a path leads. The entry itself is meant: if it is a link, it is not followed.

    Each method raises `WasiError` or `OSError`, as POSIX defines.
    """

    @property
    def trailing_slash(self) -> bool:
        """True if the path ended with a slash, so the entry must be a directory."""
        ...

    def status(self) -> Status:
        """The result of ``lstat``."""
        ...

    def is_large(self) -> bool:
        """True if to free the file takes so long that the loop should not wait for it."""
        ...

    def open(self, oflags: OFlag, access: Right, flags: FdFlag) -> Descriptor:
        """Open a regular file or a directory, or create a file.

        Args:
            oflags: create, truncate, require a directory.
            access: only its bits ``FD_READ`` and ``FD_WRITE`` count: what the file is opened for.
            flags: of the descriptor.
        """
        ...

    def set_times(self, atim: int, mtim: int, flags: int) -> None:
        """Set the times; see ``$fstflags``."""
        ...

    def read_link(self) -> bytes:
        """The target of a link."""
        ...

    def make_directory(self) -> None:
        """Create a directory."""
        ...

    def make_link(self, target: bytes) -> None:
        """Create a symbolic link."""
        ...

    def link_to(self, new: Entry) -> None:
        """Create ``new`` as another name of this file."""
        ...

    def rename_to(self, new: Entry) -> None:
        """Move this entry to ``new``, in place of what is there."""
        ...

    def remove_directory(self) -> None:
        """Remove an empty directory."""
        ...

    def remove_file(self) -> None:
        """Remove a file or a link."""
        ...
