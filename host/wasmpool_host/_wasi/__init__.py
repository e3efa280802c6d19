"""WASI preview 1 for guests that are not trusted: shut by default, opened piece by piece by `Wasi`.

The contract is ``wasi_snapshot_preview1.witx`` with ``typenames.witx`` (its prose form is
``phases/snapshot/docs.md``). Where it leaves room, the answers are those of wasmtime's own
implementation on Linux, for that is what guests are tried with.

`config` is what an application sees. The functions are in `preview1`, which is imported with
the first module that needs them.
"""

from __future__ import annotations

from .config import Preopen, Wasi

__all__ = ["Preopen", "Wasi"]
