"""The plugin files of a directory: listing them, and reading one.

Each function here may block for long, on a file system that does not answer, so it runs in a
thread. A file is checked through its open descriptor, never only by its path: the path may lead
elsewhere by the time it is opened.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from wasmpool_host.lowlevel import Source

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Listing", "Stamp", "Unsettled", "list_files", "plugin_name", "read_file"]

_SUFFIX: Final = ".wasm"
_TEMPORARY: Final = (".", "~", "#")
"""How the names of hidden files begin, and of the temporary files of editors, rsync and others."""

_MAX_SIZE: Final = 256 << 20
"""Bytes of a file. The largest plugins have some 30 MiB; a sparse file can claim any size."""
_PIECE: Final = 1 << 20

Stamp: TypeAlias = tuple[int, ...]
"""Differs if a file has changed, or if another file has taken its place. It contains the change
time of the inode, because programs such as cp -p and rsync set back the change time of the content,
but cannot set back that of the inode."""

_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class Unsettled(Exception):
    """The file changed while it was read, or has been removed."""


@attrs.frozen
class Listing:
    """A directory at one moment."""

    identity: tuple[int, int] | None
    """The directory's device and inode; None if there is no directory."""
    stamps: Mapping[str, Stamp]
    """The stamps of the plugin files, by file name."""


def plugin_name(file: str) -> str | None:
    """Return the name of the plugin in a file, or None if the file is to be ignored."""
    if not file.endswith(_SUFFIX) or file.startswith(_TEMPORARY):
        return None
    return file.removesuffix(_SUFFIX)


def list_files(directory: str, only: str | None = None) -> Listing:
    """List the plugin files of a directory, or only one file. Symbolic links are followed.

    Raises:
        OSError: the directory cannot be read.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        stamps: dict[str, Stamp] = {}
        for name in _plugin_files(descriptor) if only is None else (only,):
            stamp = _stamp_of(name, descriptor)
            if stamp is not None:
                stamps[name] = stamp
        return Listing((status.st_dev, status.st_ino), stamps)
    finally:
        os.close(descriptor)


def _plugin_files(directory: int) -> list[str]:
    names = os.listdir(directory)
    return [name for name in names if plugin_name(name) is not None]


def _stamp_of(name: str, directory: int) -> Stamp | None:
    """Return None if the file has been removed since it was listed, or is a dangling link."""
    try:
        return _stamp(os.stat(name, dir_fd=directory))
    except FileNotFoundError:
        return None
    except OSError as error:  # the file exists, and reading it will report what is wrong
        return (-(error.errno or 0),)


def _stamp(status: os.stat_result) -> Stamp:
    return (
        status.st_dev,
        status.st_ino,
        status.st_mode,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def read_file(directory: str, name: str) -> tuple[Source, Stamp]:
    """Read a plugin file, and return it with the stamp of exactly this content.

    Raises:
        Unsettled: it changed while it was read, or has been removed.
        OSError: it cannot be read, is not a regular file, or is too large.
        CompileError: it ends with ``.wat``, and is no module in the text format.
    """
    path = os.path.join(directory, name)  # noqa: PTH118 - a Path would normalize the name
    try:
        _check_regular(path, os.stat(path))  # noqa: PTH116 - before opening: that can act on a device
        # If it has become a FIFO since, opening it without O_NONBLOCK would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError as missing:
        raise Unsettled(str(missing)) from missing
    try:
        before = os.fstat(descriptor)
        _check_regular(path, before)
        content = _read_all(descriptor, before.st_size, path)
        if _stamp(os.fstat(descriptor)) != _stamp(before):
            message = f"file {path!r} changed while it was read"
            raise Unsettled(message)
    finally:
        os.close(descriptor)
    return Source.of_file(content, path), _stamp(before)


def _check_regular(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        message = f"file {path!r} is not a regular file, but {kind}"
        raise OSError(message)
    if status.st_size > _MAX_SIZE:
        message = (
            f"file {path!r} has {status.st_size:,} bytes, above the limit of {_MAX_SIZE:,} for a"
            " plugin"
        )
        raise OSError(message)


def _read_all(descriptor: int, size: int, path: str) -> bytes:
    """Read a file to its end.

    Raises:
        Unsettled: it does not have ``size`` bytes.
    """
    content = bytearray()
    while piece := os.read(descriptor, _PIECE):
        content += piece
        if len(content) > size:
            break
    if len(content) != size:
        message = f"file {path!r} has {len(content):,} bytes or more, not {size:,} as at first"
        raise Unsettled(message)
    return bytes(content)
