"""One WebAssembly instance, driven from trio: compile, link, instantiate, call.

A call is a fiber driven by the calling trio task: short ones cost microseconds and no thread,
host functions are awaited in the task itself, and a cancel stops exactly one guest. For many
instances of a module, see the package `wasmpool`, which is built on this one and on `lowlevel`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from . import lowlevel as lowlevel
from ._errors import (
    CallTimeout,
    CompileError,
    Frame,
    GuestError,
    GuestExit,
    GuestMemoryError,
    GuestTrap,
    InstanceClosed,
    InstanceError,
    InstancePoisoned,
    LinkError,
    ModuleError,
    SnapshotError,
    WasmpoolError,
)
from ._instance.caller import Caller
from ._instance.instance import Instance
from ._instance.memory import Memory
from ._limits import Limits
from ._module import Module
from ._types import FunctionType, GlobalType, MemoryType, TableType, TagType

if TYPE_CHECKING:
    from ._component.component import Component
    from ._component.instance import ComponentInstance
    from ._component.resources import GuestResource
    from ._component.world import ComponentWorld
    from ._instance.host_function import HostFunction, host_function
    from ._instance.program import CAPTURE, Completed, RunOptions
    from ._statistics import HostStatistics, statistics
    from ._wasi import Preopen, Wasi
    from ._wit_values import Err, Ok, Record, Some, Variant

__all__ = [
    "CAPTURE",
    "CallTimeout",
    "Caller",
    "CompileError",
    "Completed",
    "Component",
    "ComponentInstance",
    "ComponentWorld",
    "Err",
    "Frame",
    "FunctionType",
    "GlobalType",
    "GuestError",
    "GuestExit",
    "GuestMemoryError",
    "GuestResource",
    "GuestTrap",
    "HostFunction",
    "HostStatistics",
    "Instance",
    "InstanceClosed",
    "InstanceError",
    "InstancePoisoned",
    "Limits",
    "LinkError",
    "Memory",
    "MemoryType",
    "Module",
    "ModuleError",
    "Ok",
    "Preopen",
    "Record",
    "RunOptions",
    "SnapshotError",
    "Some",
    "TableType",
    "TagType",
    "Variant",
    "Wasi",
    "WasmpoolError",
    "host_function",
    "statistics",
]


_LATER: Final = {
    "CAPTURE": "wasmpool_host._instance.program",
    "Completed": "wasmpool_host._instance.program",
    "Component": "wasmpool_host._component.component",
    "ComponentInstance": "wasmpool_host._component.instance",
    "ComponentWorld": "wasmpool_host._component.world",
    "Err": "wasmpool_host._wit_values",
    "GuestResource": "wasmpool_host._component.resources",
    "HostFunction": "wasmpool_host._instance.host_function",
    "HostStatistics": "wasmpool_host._statistics",
    "Ok": "wasmpool_host._wit_values",
    "Preopen": "wasmpool_host._wasi",
    "Record": "wasmpool_host._wit_values",
    "RunOptions": "wasmpool_host._instance.program",
    "Some": "wasmpool_host._wit_values",
    "Variant": "wasmpool_host._wit_values",
    "Wasi": "wasmpool_host._wasi",
    "host_function": "wasmpool_host._instance.host_function",
    "statistics": "wasmpool_host._statistics",
}
"""Names that are imported at their first use, since the start of a program is faster without."""


def _at_home(thing: Any) -> Any:
    """Have it read ``wasmpool_host.GuestTrap``, wherever it is defined."""
    if hasattr(thing, "__module__"):
        thing.__module__ = __name__
    return thing


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        thing = globals()[name] = _at_home(getattr(import_module(_LATER[name]), name))
        return thing


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _bring_home() -> None:
    for name in __all__:
        if name not in _LATER:
            _at_home(globals()[name])


_bring_home()
