"""Where a plugin's module comes from: a path, bytes, text, or a compiled module."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, TypeAlias

from wasmpool_host import Module
from wasmpool_host.lowlevel import BlockingCalls, Source

from .errors import DigestError

__all__ = [
    "PluginSource",
    "as_module_source",
    "freeze_source",
    "name_of_file",
    "read_checked",
    "stem",
]

PluginSource: TypeAlias = str | os.PathLike[str] | bytes | Module
"""A file's path, the bytes of a file, or a compiled module, which keeps the imports that it was
compiled with. A str that contains ``(module`` is the text of a module."""

_reading: Final = BlockingCalls("readings of plugin files", limit=4, max_abandoned=8)


def as_module_source(
    source: str | os.PathLike[str] | bytes | Source,
) -> os.PathLike[str] | bytes | str | Source:
    """Return a plugin's source as `Module.compile` takes it: there, a str is always text."""
    if isinstance(source, str) and "(module" not in source:
        return Path(source)
    return source


def freeze_source(source: PluginSource) -> PluginSource:
    """Return a plugin's source in a form that the caller can no longer change."""
    return bytes(source) if isinstance(source, (bytearray, memoryview)) else source


def name_of_file(source: PluginSource | Source) -> str:
    """Return ``, file '<path>'`` for an error message; empty if the source is not a file."""
    if isinstance(source, Module):
        return ""
    path = source.path if isinstance(source, Source) else as_module_source(source)
    return f", file {os.fspath(path)!r}" if isinstance(path, os.PathLike) else ""


def stem(source: PluginSource | Source) -> str:
    """Return a name for a plugin that cannot be asked for its own: its file's or its module's."""
    if isinstance(source, (Module, Source)):
        return source.name or "unknown"
    path = as_module_source(source)
    return Path(path).stem if isinstance(path, os.PathLike) else "unknown"


async def read_checked(
    source: PluginSource | Source, sha256: str | None, *, read: bool = False
) -> PluginSource | Source:
    """Return a source whose content has this digest, and that can no longer change.

    Args:
        source: as `open_plugin` takes it, or a file that has been read.
        sha256: the digest in hexadecimal; None is any.
        read: True: a file is read even if any digest will do.

    Raises:
        DigestError: it has another one.
        CompileError, OSError: as for `Module.compile`.
    """
    if sha256 is None and not read:
        return source
    if not isinstance(source, Module):
        source = await _reading.run(Source.read, as_module_source(source))
    if sha256 is not None and source.digest != sha256.lower():
        raise DigestError(stem(source), name_of_file(source), source.digest, sha256)
    return source
