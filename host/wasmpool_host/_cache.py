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
from ._errors import CompileError

if TYPE_CHECKING:
    import wasmtime

__all__ = ["load_or_compile"]

_log = logging.getLogger("wasmpool.cache")

_MAGIC: Final = b"\0asm"
_TAIL: Final = hashlib.sha256().digest_size


def load_or_compile(
    engine: wasmtime.Engine, binary: bytes, digest: str, directory: Path | None, label: str
) -> wasmtime.Module:
    """Compiled code for a binary, from the cache if one is given and has it.

    Raises:
        CompileError: the binary is no valid module.
    """
    if directory is None:
        return _compile(engine, binary, label)
    entry = directory / f"{digest}-{_key()}.cwasm"
    found = _load(engine, entry)
    if found is not None:
        return found
    compiled = _compile(engine, binary, label)
    _store(entry, _capi.serialize(compiled))
    return compiled


def seal(code: bytes) -> bytes:
    """What an entry ends with."""
    return hashlib.sha256(code).digest()


def _compile(engine: wasmtime.Engine, binary: bytes, label: str) -> wasmtime.Module:
    if not binary.startswith(_MAGIC):  # the wheel would take it for the text format
        message = (
            f"{label} is no valid WebAssembly module: it begins with {binary[:4]!r}, not {_MAGIC!r}"
        )
        raise CompileError(message)
    try:
        return _capi.compile_binary(engine, binary)
    except _capi.CApiError as error:
        message = f"{label} is no valid WebAssembly module: {_last_line(str(error))}"
        raise CompileError(message) from None


def _last_line(message: str) -> str:
    """Wasmtime's reason, without the chain that leads to it."""
    return message.strip().splitlines()[-1].strip()


def _key() -> str:
    settings = f"{_capi.engine_key()}-{sys.platform}-{platform.machine()}"
    return hashlib.sha256(settings.encode()).hexdigest()[:16]


def _load(engine: wasmtime.Engine, entry: Path) -> wasmtime.Module | None:
    try:
        content = entry.read_bytes()
    except OSError:
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
