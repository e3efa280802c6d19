"""Random modules, made by ``wasm-tools smith`` from a seed: any feature that wasmpool lets in."""

from __future__ import annotations

import json
import subprocess
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MEMORY", "Smith"]

MEMORY: Final = 8 << 20
"""Half of the bytes that a memory may start with: most modules start with less in all."""

_ENABLED: Final = {
    "allow-start-export": True,
    "bulk-memory-enabled": True,
    "exceptions-enabled": True,
    "export-everything": True,
    "extended-const-enabled": True,
    "gc-enabled": True,
    "memory64-enabled": True,
    "multi-value-enabled": True,
    "reference-types-enabled": True,
    "relaxed-simd-enabled": True,
    "saturating-float-to-int-enabled": True,
    "sign-extension-ops-enabled": True,
    "simd-enabled": True,
    "tail-call-enabled": True,
    "wide-arithmetic-enabled": True,
    "compact-imports-enabled": False,
    "custom-descriptors-enabled": False,
    "custom-page-sizes-enabled": False,
    "shared-everything-threads-enabled": False,
    "threads-enabled": False,
}

_SIZES: Final = {
    "min-funcs": 1,
    "max-funcs": 20,
    "max-imports": 5,
    "max-instructions": 200,
    "max-memories": 3,
    "max-tables": 3,
    "max-globals": 10,
    "max-tags": 5,
    "max-memory32-bytes": 2 * MEMORY,
    "max-memory64-bytes": 2 * MEMORY,
    "max-table-elements": 100_000,
}


class Smith:
    """Makes one module for each seed, always the same.

    Args:
        tool: the path of ``wasm-tools``.
        folder: for its files.
        imports: a module, in the text format, whose imports the made ones may have.
    """

    def __init__(self, tool: str, folder: Path, imports: str) -> None:
        self._tool = tool
        self._bytes = folder / "seed"
        self._module = folder / "module.wasm"
        self._imports = folder / "imports.wat"
        self._imports.write_text(imports)
        self._config = folder / "config.json"
        self._config.write_text(json.dumps({**_ENABLED, **_SIZES}))

    def module(self, seed: int) -> bytes | None:
        """The module of this seed; None for the few seeds that the tool makes none of."""
        random = Random(seed)
        self._bytes.write_bytes(random.randbytes(random.choice([200, 1_000, 5_000, 20_000])))
        done = subprocess.run(
            [
                *(self._tool, "smith", self._bytes, "--config", self._config),
                *("--available-imports", self._imports, "--output", self._module),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return None if done.returncode else self._module.read_bytes()
