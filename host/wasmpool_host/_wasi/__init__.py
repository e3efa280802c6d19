"""WASI preview 1 for guests that are not trusted: they can access only what `Wasi` grants.

The contract is ``wasi_snapshot_preview1.witx`` with ``typenames.witx`` (in prose,
``phases/snapshot/docs.md``). Where it is not precise, the results are those of Wasmtime's own
implementation on Linux, because guests are usually tested with it.

`config` has the public classes. The WASI functions are in `preview1`, which is imported with the
first module that needs them.
"""

from __future__ import annotations

from .config import Preopen, Wasi

__all__ = ["Preopen", "Wasi"]
