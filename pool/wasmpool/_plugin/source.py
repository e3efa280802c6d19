"""Where a plugin's module comes from: a path, bytes, text, or a compiled module."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from wasmpool_host import Module
from wasmpool_host.lowlevel import Source

__all__ = ["PluginSource", "as_module_source", "freeze_source", "name_of_file"]

PluginSource: TypeAlias = str | os.PathLike[str] | bytes | Module
"""A file's path, the bytes of a file, or a compiled module, which keeps the imports that it was
compiled with. A str that contains ``(module`` is the text of a module."""


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
