"""Compiled code on disk.

The name of an entry is made of everything that the code depends on: the module's digest, Wasmtime's
version, the engine's settings and the target. The entry ends with a checksum of the rest, so that
one that was truncated or damaged is detected, recompiled and replaced: Wasmtime itself would run
it.

The checksum is no protection from an attacker, who would write a matching one. A user who can write
an entry decides what this process runs. So an entry is used only if no user except this one and
root can have written it: it is a regular file that belongs to one of the two, has no other hard
links, and is not writable by others, in a directory that belongs to one of the two. The directory
is opened once for each use and checked by its descriptor; entries are opened relative to it and
checked by theirs. So it does not matter if a path changes meanwhile. A directory that others can
write to is refused, unless it is sticky, as /tmp is: there others can add files, which are not
used, but cannot replace ours.

An entry is created by a rename, so that processes may share a directory: a reader sees a whole
entry or none, and of several writers the last one wins, with the same bytes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import secrets
import stat
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from wasmpool_host import _capi
from wasmpool_host._escape import escaped
from wasmpool_host._regular_file import open_regular, read_at_most

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import wasmtime

__all__ = ["find", "keep"]

_log = logging.getLogger("wasmpool.cache")

_CHECKSUM_SIZE: Final = hashlib.sha256().digest_size

_MAX_ENTRY: Final = 2 << 30
"""Bytes: more than the code of any module that `Module.compile` reads from a file."""

_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class Codec(Protocol):
    """What turns compiled code into bytes and back: the C API of modules, or of components."""

    def engine_key(self) -> str:
        """A string for what compiled code depends on besides the source."""
        ...

    def serialize(self, compiled: Any, /) -> bytes: ...
    def deserialize(self, engine: wasmtime.Engine, code: bytes, /) -> Any: ...


def find(
    engine: wasmtime.Engine, digest: str, directory: Path, *, codec: Codec = _capi
) -> Any | None:
    """The compiled code of the source with this digest, or None if no entry can be used.

    Raises:
        ValueError: others can write to the directory.
    """
    entry = directory / _name(digest, codec)
    try:
        with _opened(directory) as opened:
            content = _read(opened, entry.name)
    except FileNotFoundError:
        return None
    except (OSError, _Unusable) as error:
        _log.warning("cache entry %s is not used: compiling again (%s)", _shown(entry), error)
        return None
    code, found = content[:-_CHECKSUM_SIZE], content[-_CHECKSUM_SIZE:]
    if checksum(code) != found:
        _log.warning("cache entry %s is damaged: compiling again", _shown(entry))
        return None
    try:
        return codec.deserialize(engine, code)
    except _capi.CApiError as error:
        _log.warning("cache entry %s cannot be used: compiling again (%s)", _shown(entry), error)
        return None


def keep(compiled: Any, digest: str, directory: Path, *, codec: Codec = _capi) -> None:
    """Store the code for `find`. If the cache cannot be written, this only logs a warning.

    Raises:
        ValueError: others can write to the directory.
    """
    entry = directory / _name(digest, codec)
    code = codec.serialize(compiled)
    try:
        with _opened(directory) as opened:
            _write(opened, entry.name, code + checksum(code))
    except OSError as error:
        _log.warning("cannot write cache entry %s: %s", _shown(entry), error)


def checksum(code: bytes) -> bytes:
    """The bytes at the end of an entry."""
    return hashlib.sha256(code).digest()


def _name(digest: str, codec: Codec = _capi) -> str:
    return f"{digest}-{_key(codec)}.cwasm"


def _key(codec: Codec = _capi) -> str:
    settings = f"{codec.engine_key()}-{sys.platform}-{platform.machine()}"
    return hashlib.sha256(settings.encode()).hexdigest()[:16]


def _shown(entry: Path) -> str:
    return escaped(str(entry))


# --- which users can have written it --------------------------------------------------------


def trusted_users() -> frozenset[int]:
    """The users whose code is run: this one, and root, which can change this process anyway."""
    return frozenset({os.geteuid(), 0})


class _Unusable(Exception):
    """The reason why an entry is not used."""


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    """The directory's descriptor; raises ValueError if other users can write entries of ours."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check_private(os.fstat(fd), directory)
        yield fd
    finally:
        os.close(fd)


def _check_private(status: os.stat_result, directory: Path) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in trusted_users():
        why = f"it belongs to user {status.st_uid}, and this process runs as user {os.geteuid()}"
    elif mode & _WRITABLE_BY_OTHERS and not mode & stat.S_ISVTX:
        why = f"its mode is {mode:#o}: make it private, for example with `chmod 700`"
    else:
        return
    message = (
        f"the cache directory {str(directory)!r} can be written by other users, who would decide"
        f" what code is run: {why}"
    )
    raise ValueError(message)


def _read(directory: int, name: str) -> bytes:
    with open_regular(name, directory=directory, follow=False) as (fd, status):
        if status.st_uid not in trusted_users():
            raise _Unusable(f"it belongs to user {status.st_uid}")
        if status.st_mode & _WRITABLE_BY_OTHERS:
            raise _Unusable(
                f"others can write to it: its mode is {stat.S_IMODE(status.st_mode):#o}"
            )
        if status.st_nlink > 1:
            raise _Unusable(f"it has {status.st_nlink} names")
        content = read_at_most(fd, _MAX_ENTRY) if status.st_size <= _MAX_ENTRY else None
    if content is None:
        raise _Unusable(f"it has more than {_MAX_ENTRY:,} bytes")
    return content


def _write(directory: int, name: str, content: bytes) -> None:
    """Write an entry under a temporary name, and rename it when it is complete."""
    temporary = f".{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(temporary, flags, 0o600, dir_fd=directory), "wb") as file:  # noqa: PTH123 - a descriptor
        try:
            file.write(content)
            file.flush()
            os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            raise
