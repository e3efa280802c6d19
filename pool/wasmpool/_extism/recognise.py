"""Which files are Extism plugins: modules that import of Extism's host, and manifests.

Commands ask it of any file, so it imports little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from wasmpool_host.lowlevel import Source

__all__ = ["ENV", "MANIFESTS", "is_extism", "is_manifest"]

ENV: Final = "extism:host/env"
"""The module that guests import from."""
MANIFESTS: Final = {".json", ".toml"}
"""The suffixes of files with a manifest; all others have a module."""


def is_extism(source: Source) -> bool:
    """Return True for a module of an Extism plugin, and for a manifest in JSON or TOML."""
    if source.outline is None:
        return is_manifest(source)
    return any(module == ENV for module, _, _ in source.outline.imports)


def is_manifest(source: Source) -> bool:
    """Return True for a file that can at most be a manifest."""
    if source.outline is not None or source.path is None:
        return False
    return source.path.suffix in MANIFESTS or source.binary[:64].lstrip().startswith(b"{")
