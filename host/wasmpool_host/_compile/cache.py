"""Compiled code on disk.

An entry is named for what the code depends on: the module's digest, Wasmtime's version and the
engine's settings, the target. It ends with a digest of the rest, so that one that was cut
short or altered by accident is noticed, recompiled and replaced: Wasmtime itself would run it.

That digest is no guard against an attacker, who would write one that fits. Who can write an entry
decides what this process runs, and so an entry is used only if nobody but this user, or root, can
have written it: a regular file of theirs without other names, which others cannot write to, in a
directory of theirs. The directory is opened once for each use, and looked at by its descriptor;
entries are opened relative to that, and looked at by theirs. So it does not matter what becomes of
a path meanwhile. A directory that others can write to is refused, unless it is sticky, as /tmp is:
there they can add files, which are not used, but cannot replace ours.

An entry appears by a rename, so that processes may share a directory: a reader sees a whole
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
from typing import TYPE_CHECKING, Final

from wasmpool_host import _capi
from wasmpool_host._escape import escaped
from wasmpool_host._regular_file import open_regular, read_at_most

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import wasmtime

__all__ = ["find", "keep"]

_log = logging.getLogger("wasmpool.cache")

_TAIL: Final = hashlib.sha256().digest_size

_MOST: Final = 2 << 30
"""Bytes of an entry: more than the code of any module that `Module.compile` takes from a file."""

_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def find(engine: wasmtime.Engine, digest: str, directory: Path | None) -> wasmtime.Module | None:
    """The compiled code of the module with this digest, if there is some that can be used.

    Raises:
        ValueError: others can write to the directory.
    """
    if directory is None:
        return None
    entry = directory / _name(digest)
    try:
        with _opened(directory) as opened:
            content = _read(opened, entry.name)
    except FileNotFoundError:
        return None
    except (OSError, _Unusable) as error:
        _log.warning("cache entry %s is not used: compiling again (%s)", _shown(entry), error)
        return None
    code, found = content[:-_TAIL], content[-_TAIL:]
    if seal(code) != found:
        _log.warning("cache entry %s is damaged: compiling again", _shown(entry))
        return None
    try:
        return _capi.deserialize(engine, code)
    except _capi.CApiError as error:
        _log.warning("cache entry %s cannot be used: compiling again (%s)", _shown(entry), error)
        return None


def keep(compiled: wasmtime.Module, digest: str, directory: Path | None) -> None:
    """Have it found from now on; a cache that cannot be written is slow, not wrong.

    Raises:
        ValueError: others can write to the directory.
    """
    if directory is None:
        return
    entry = directory / _name(digest)
    code = _capi.serialize(compiled)
    try:
        with _opened(directory) as opened:
            _write(opened, entry.name, code + seal(code))
    except OSError as error:
        _log.warning("cannot write cache entry %s: %s", _shown(entry), error)


def seal(code: bytes) -> bytes:
    """What an entry ends with."""
    return hashlib.sha256(code).digest()


def _name(digest: str) -> str:
    return f"{digest}-{_key()}.cwasm"


def _key() -> str:
    settings = f"{_capi.engine_key()}-{sys.platform}-{platform.machine()}"
    return hashlib.sha256(settings.encode()).hexdigest()[:16]


def _shown(entry: Path) -> str:
    return escaped(str(entry))


# --- who can have written it ----------------------------------------------------------------


def trusted() -> frozenset[int]:
    """The users whose code is run: this one, and root, who can change what is run anyway."""
    return frozenset({os.geteuid(), 0})


class _Unusable(Exception):
    """Why an entry is not used."""


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    """The directory's descriptor, if nobody else can have put an entry there in our name."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check_private(os.fstat(fd), directory)
        yield fd
    finally:
        os.close(fd)


def _check_private(status: os.stat_result, directory: Path) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in trusted():
        why = f"it belongs to user {status.st_uid}, and this process is of user {os.geteuid()}"
    elif mode & _BY_OTHERS and not mode & stat.S_ISVTX:
        why = f"its mode is {mode:#o}: make it private, as by `chmod 700`"
    else:
        return
    message = (
        f"the cache directory {str(directory)!r} can be written by others, who would decide what"
        f" code is run: {why}"
    )
    raise ValueError(message)


def _read(directory: int, name: str) -> bytes:
    with open_regular(name, directory=directory, follow=False) as (fd, status):
        if status.st_uid not in trusted():
            raise _Unusable(f"it belongs to user {status.st_uid}")
        if status.st_mode & _BY_OTHERS:
            raise _Unusable(
                f"others can write to it: its mode is {stat.S_IMODE(status.st_mode):#o}"
            )
        if status.st_nlink > 1:
            raise _Unusable(f"it has {status.st_nlink} names")
        content = read_at_most(fd, _MOST) if status.st_size <= _MOST else None
    if content is None:
        raise _Unusable(f"it has more than {_MOST:,} bytes")
    return content


def _write(directory: int, name: str, content: bytes) -> None:
    """Write an entry under another name, and rename it when it is whole."""
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
