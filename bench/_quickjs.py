"""QuickJS with a library, as a guest: the interpreter of the package ``quickjs-rs``."""

from __future__ import annotations

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wasmpool import Module, host_function

if TYPE_CHECKING:
    from wasmpool import Instance, Lease

__all__ = ["compile_quickjs", "evaluate", "is_installed", "read_library"]

_FUNCTIONS: Final = 300
_LIBRARY: Final = "\n".join(
    f"function f{k}(x) {{ return x * {k} + [1, 2, 3].map(y => y + x).length }}"
    for k in range(_FUNCTIONS)
)


def is_installed() -> bool:
    """Return True if the interpreter is there."""
    return find_spec("quickjs_rs") is not None


async def compile_quickjs() -> Module:
    """Compile the interpreter, which calls no function of the host here."""
    guest = Path(str(files("quickjs_rs") / "_guest.wasm"))
    imports = [
        host_function("env", "host_call", ("i32",) * 5, ["i32"])(_zero),
        host_function("env", "host_interrupt", (), ["i32"])(_zero),
        host_function("env", "host_module_normalize", ("i32",) * 5, ["i32"])(_zero),
        host_function("env", "host_module_load", ("i32",) * 3, ["i32"])(_zero),
    ]
    return await Module.compile(guest, imports=imports)


def _zero(_caller: object, *_args: int) -> int:
    return 0


async def read_library(js: Instance) -> None:
    """Have an instance read the library; a setup for a pool or a snapshot."""
    await evaluate(js, _LIBRARY)


async def evaluate(js: Instance | Lease, source: str = f"f{_FUNCTIONS - 1}(2)") -> None:
    """Evaluate a script; without one, call a function of the library.

    Raises:
        RuntimeError: it threw an error.
    """
    data = source.encode()
    pointer = await _call(js, "qjs_alloc", len(data))
    js.memory.write(pointer, data)
    status = await _call(js, "eval_code", pointer, len(data), await _call(js, "qjs_alloc", 4))
    if status:
        message = f"QuickJS could not evaluate {source[:50]!r}: status {status}"
        raise RuntimeError(message)


async def _call(js: Instance | Lease, export: str, *args: int) -> int:
    """Call an export whose result is an i32."""
    result: Any = await js.call(export, *args)
    return int(result)
