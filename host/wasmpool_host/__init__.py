"""One WebAssembly instance, driven from trio: compile, link, instantiate, call.

A call is a fiber driven by the calling trio task: short ones cost microseconds and no thread,
host functions are awaited in the task itself, and a cancel stops exactly one guest. For many
instances of a module, see the package `wasmpool`, which is built on this one.
"""

from __future__ import annotations

from ._caller import Caller
from ._engine import check_process
from ._errors import (
    CallTimeout,
    CompileError,
    Frame,
    GuestExit,
    GuestMemoryError,
    GuestTrap,
    InstanceClosed,
    InstancePoisoned,
    LinkError,
)
from ._host_function import HostFunction, host_function
from ._instance import Instance
from ._limits import Limits
from ._memory import Memory
from ._module import Module
from ._pending import PENDING
from ._turn import HALF, turn_of_this_run
from ._types import FunctionType, GlobalType, MemoryType, TableType, TagType
from ._wasi import Preopen, Wasi

__all__ = [
    "HALF",
    "PENDING",
    "CallTimeout",
    "Caller",
    "CompileError",
    "Frame",
    "FunctionType",
    "GlobalType",
    "GuestExit",
    "GuestMemoryError",
    "GuestTrap",
    "HostFunction",
    "Instance",
    "InstanceClosed",
    "InstancePoisoned",
    "Limits",
    "LinkError",
    "Memory",
    "MemoryType",
    "Module",
    "Preopen",
    "TableType",
    "TagType",
    "Wasi",
    "check_process",
    "host_function",
    "turn_of_this_run",
]


def _bring_home() -> None:
    """Errors and types read ``wasmpool_host.GuestTrap``, wherever they are defined."""
    for name in __all__:
        if hasattr(globals()[name], "__module__"):
            globals()[name].__module__ = __name__


_bring_home()
