"""The module ``spectest`` that the suite's modules import from: functions that print nothing."""

from __future__ import annotations

from typing import Any, Final

from wasmpool_host import Caller, HostFunction, host_function

__all__ = ["KINDS", "PRINTERS"]

_PRINTERS: Final[dict[str, tuple[Any, ...]]] = {
    "print": (),
    "print_i32": ("i32",),
    "print_i64": ("i64",),
    "print_f32": ("f32",),
    "print_f64": ("f64",),
    "print_i32_f32": ("i32", "f32"),
    "print_f64_f64": ("f64", "f64"),
}


def _printer(name: str, params: tuple[Any, ...]) -> HostFunction:
    @host_function("spectest", name, params=params)
    def print_nothing(_caller: Caller, *_args: float) -> None:
        pass

    return print_nothing


PRINTERS: Final = {name: _printer(name, params) for name, params in _PRINTERS.items()}

KINDS: Final = {
    **dict.fromkeys(PRINTERS, "function"),
    **dict.fromkeys(("global_i32", "global_i64", "global_f32", "global_f64"), "global"),
    "table": "table",
    "table64": "table",
    "memory": "memory",
    "shared_memory": "memory",
}
"""What it exports in the reference interpreter, by name; wasmpool provides the functions."""
