"""What can be seen of a directory of plugins, and how one of its files is read.

Everything here may block for long, on a file system that does not answer, and runs in threads. A
file is judged by the descriptor that it is read by, never by its path alone: the path may lead
elsewhere by the time it is opened.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from wasmpool_host.lowlevel import Source

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Look", "Stamp", "Unsettled", "look", "plugin_name", "read"]

_SUFFIX: Final = ".wasm"
_TEMPORARY: Final = (".", "~", "#")
"""How names of hidden files begin, and of those that editors, rsync and others write meanwhile."""

_MOST: Final = 256 << 20
"""Bytes of a file. The largest plugins have some 30 MiB; a sparse file may pretend any size."""
_PIECE: Final = 1 << 20

Stamp: TypeAlias = tuple[int, ...]
"""Differs when a file has changed, or another stands in its place. The time of the last change of
the inode is in it: no program can set it back, as cp -p and rsync do with that of the content."""

_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class Unsettled(Exception):
    """The file changed while it was read, or is gone by now."""


@attrs.frozen
class Look:
    """A directory at one moment."""

    identity: tuple[int, int] | None
    """Its device and inode; None if there is none."""
    files: Mapping[str, Stamp]
    """The stamps of its plugins' files, by file name."""


def plugin_name(file: str) -> str | None:
    """Return the name of the plugin in a file, or None if the file is to be left alone."""
    if not file.endswith(_SUFFIX) or file.startswith(_TEMPORARY):
        return None
    return file.removesuffix(_SUFFIX)


def look(directory: str) -> Look:
    """List the plugins' files in a directory. Symbolic links are followed.

    Raises:
        OSError: the directory cannot be read.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        seen = os.fstat(descriptor)
        files: dict[str, Stamp] = {}
        for name in os.listdir(descriptor):  # noqa: PTH208 - a Path has no descriptor
            if plugin_name(name) is not None:
                stamp = _stamp_of(name, descriptor)
                if stamp is not None:
                    files[name] = stamp
        return Look((seen.st_dev, seen.st_ino), files)
    finally:
        os.close(descriptor)


def _stamp_of(name: str, directory: int) -> Stamp | None:
    """None if it is gone since it was listed, or is a link to nothing."""
    try:
        return _stamp(os.stat(name, dir_fd=directory))
    except FileNotFoundError:
        return None
    except OSError as unseen:  # it is there, and reading it will say what is wrong
        return (-(unseen.errno or 0),)


def _stamp(seen: os.stat_result) -> Stamp:
    return (
        seen.st_dev,
        seen.st_ino,
        seen.st_mode,
        seen.st_size,
        seen.st_mtime_ns,
        seen.st_ctime_ns,
    )


def read(directory: str, name: str) -> tuple[Source, Stamp]:
    """Read a plugin's file, with the stamp of just what was read.

    Raises:
        Unsettled: it changes, or is gone.
        OSError: it cannot be read, is no regular file, or is too large.
    """
    path = os.path.join(directory, name)  # noqa: PTH118 - a Path would drop what a name may have
    try:
        _check_regular(path, os.stat(path))  # noqa: PTH116 - opening a device may do something
        # It may have become a FIFO since: opening one to read waits for its writer without this.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError as gone:
        raise Unsettled(str(gone)) from gone
    try:
        before = os.fstat(descriptor)
        _check_regular(path, before)
        content = _read_to(descriptor, before.st_size, path)
        if _stamp(os.fstat(descriptor)) != _stamp(before):
            message = f"file {path!r} changed while it was read"
            raise Unsettled(message)
    finally:
        os.close(descriptor)
    return Source(content, Path(path)), _stamp(before)


def _check_regular(path: str, seen: os.stat_result) -> None:
    if not stat.S_ISREG(seen.st_mode):
        kind = _KINDS.get(stat.S_IFMT(seen.st_mode), "something else")
        message = f"file {path!r} is no regular file, but {kind}"
        raise OSError(message)
    if seen.st_size > _MOST:
        message = (
            f"file {path!r} has {seen.st_size:,} bytes, and a plugin's may have {_MOST:,} at most"
        )
        raise OSError(message)


def _read_to(descriptor: int, size: int, path: str) -> bytes:
    """Read a whole file, which should have this size."""
    content = bytearray()
    while piece := os.read(descriptor, _PIECE):
        content += piece
        if len(content) > size:
            break
    if len(content) != size:
        message = f"file {path!r} has {len(content):,} bytes or more where {size:,} were said"
        raise Unsettled(message)
    return bytes(content)
