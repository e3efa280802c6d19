"""A directory that a guest has open, of whatever kind."""

# ruff: noqa: ARG002  # a directory refuses operations, whatever the arguments

from __future__ import annotations

from typing import TYPE_CHECKING

from . import rights as rights_module
from .descriptor import Descriptor
from .errno import Errno, WasiError
from .layout import FileType

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from .entry import Entry
    from .open_entries import OpenEntries

__all__ = ["Directory"]


class Directory(Descriptor):
    """The base class of directories: on the host's disk, or in memory."""

    __slots__ = ()

    filetype = FileType.DIRECTORY
    rights = rights_module.DIRECTORY
    inheriting = rights_module.INHERITING
    guest_path: bytes | None
    """The guest's path for it, if it was preopened."""

    def check_writable(self) -> None:
        """Raise ``ROFS`` if the directory is read-only."""

    def resolve(self, path: bytes, *, follow: bool) -> AbstractContextManager[Entry]:
        """Walk a path from here. The entry is usable inside the ``with`` block.

        Args:
            path: the guest's path; it cannot lead out of the directory.
            follow: also follow a link that is the last component.

        Raises:
            WasiError: as `resolve.resolve`.
            OSError: an error of the system.
        """
        raise NotImplementedError

    def list(self, cookie: int, size: int) -> bytes:
        """The entries from `cookie` on, in the format of ``fd_readdir``, truncated at `size`."""
        raise NotImplementedError

    def open_entries(self) -> OpenEntries:
        """Begin a listing of its own, without ``.`` and ``..``.

        Raises:
            WasiError: ``NOMEM`` if too much is listed at a time.
            OSError: an error of the system.
        """
        raise NotImplementedError

    def pread(self, size: int, offset: int) -> bytes:
        raise WasiError(Errno.BADF)

    def pwrite(self, data: bytes, offset: int) -> int:
        raise WasiError(Errno.BADF)

    def append(self, data: bytes) -> int:
        raise WasiError(Errno.BADF)

    def seek(self, offset: int, whence: int) -> int:
        raise WasiError(Errno.BADF)

    def set_size(self, size: int) -> None:
        raise WasiError(Errno.BADF)

    def advise(self) -> None:
        raise WasiError(Errno.BADF)

    def allocate(self) -> None:
        raise WasiError(Errno.BADF)
