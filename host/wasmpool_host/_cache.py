"""Compiled code on disk.

An entry is named for what the code depends on: the module's digest, Wasmtime's version and the
engine's settings, the target. It ends with a digest of the rest, so that one that was cut
short or altered by accident is noticed, recompiled and replaced: Wasmtime itself would run it.
That is no guard against an attacker, who would write a digest that fits: whoever can write to
the directory decides what is run.

An entry appears by a rename, so that processes may share a directory: a reader sees a whole
entry or none, and of several writers the last one wins, with the same bytes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import _capi
from ._read import read_regular

if TYPE_CHECKING:
    import wasmtime

__all__ = ["find", "keep"]

_log = logging.getLogger("wasmpool.cache")

_TAIL: Final = hashlib.sha256().digest_size


def find(engine: wasmtime.Engine, digest: str, directory: Path | None) -> wasmtime.Module | None:
    """The compiled code of the module with this digest, if there is some that can be used."""
    return None if directory is None else _load(engine, _entry(digest, directory))


def keep(compiled: wasmtime.Module, digest: str, directory: Path | None) -> None:
    """Have it found from now on."""
    if directory is not None:
        _store(_entry(digest, directory), _capi.serialize(compiled))


def seal(code: bytes) -> bytes:
    """What an entry ends with."""
    return hashlib.sha256(code).digest()


def _entry(digest: str, directory: Path) -> Path:
    return directory / f"{digest}-{_key()}.cwasm"


def _key() -> str:
    settings = f"{_capi.engine_key()}-{sys.platform}-{platform.machine()}"
    return hashlib.sha256(settings.encode()).hexdigest()[:16]


def _load(engine: wasmtime.Engine, entry: Path) -> wasmtime.Module | None:
    try:
        content = read_regular(entry)
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("cache entry %s cannot be read: compiling again (%s)", entry, error)
        return None
    code, found = content[:-_TAIL], content[-_TAIL:]
    if seal(code) != found:
        _log.warning("cache entry %s is damaged: compiling again", entry)
        return None
    try:
        return _capi.deserialize(engine, code)
    except _capi.CApiError as error:
        _log.warning("cache entry %s cannot be used: compiling again (%s)", entry, error)
        return None


def _store(entry: Path, code: bytes) -> None:
    """Write an entry; a cache that cannot be written is slow, not wrong."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=entry.parent, prefix=".", delete=False) as file:
            try:
                file.write(code + seal(code))
                file.flush()
                os.replace(file.name, entry)  # noqa: PTH105 - of an open file, by its name
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        _log.warning("cannot write cache entry %s: %s", entry, error)
