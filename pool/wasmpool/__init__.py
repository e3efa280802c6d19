"""A trio-native pool of isolated WebAssembly instances.

A plugin is one memory and one heap, so it can serve one call at a time. A pool holds several
instances of the same module, each used by at most one task at a time: `open_pool` for any
module, `open_plugin` for plugins of the contract, `open_loader` for many of them by name.
What an application needs of the layer below, `wasmpool_host`, is here as well.
"""

from __future__ import annotations

from wasmpool_host import (
    Caller,
    CallTimeout,
    CompileError,
    Frame,
    FunctionType,
    GuestExit,
    GuestMemoryError,
    GuestTrap,
    HostFunction,
    Instance,
    InstanceClosed,
    InstancePoisoned,
    Limits,
    LinkError,
    Memory,
    Module,
    Preopen,
    Wasi,
    host_function,
)

from ._errors import (
    LeaseDeadlock,
    LeaseExpired,
    LeaseRevoked,
    PoolClosed,
    PoolSaturated,
    PoolTimeout,
    PoolUnavailable,
    ReloadFailed,
)
from ._histogram import Histogram
from ._http_policy import HttpPolicy
from ._instruments import Instrument
from ._lease import Lease
from ._loader import Loader, open_loader
from ._metadata import Metadata, Tool, ToolResult
from ._plugin import Plugin, open_plugin
from ._plugin_errors import AbiError, ConfigureError, PluginClosed
from ._pool import KEEP, Pool, open_pool
from ._pool_state import PoolState
from ._retire import RetireReason
from ._statistics import LeaseInfo, PoolStatistics

__all__ = [
    "KEEP",
    "AbiError",
    "CallTimeout",
    "Caller",
    "CompileError",
    "ConfigureError",
    "Frame",
    "FunctionType",
    "GuestExit",
    "GuestMemoryError",
    "GuestTrap",
    "Histogram",
    "HostFunction",
    "HttpPolicy",
    "Instance",
    "InstanceClosed",
    "InstancePoisoned",
    "Instrument",
    "Lease",
    "LeaseDeadlock",
    "LeaseExpired",
    "LeaseInfo",
    "LeaseRevoked",
    "Limits",
    "LinkError",
    "Loader",
    "Memory",
    "Metadata",
    "Module",
    "Plugin",
    "PluginClosed",
    "Pool",
    "PoolClosed",
    "PoolSaturated",
    "PoolState",
    "PoolStatistics",
    "PoolTimeout",
    "PoolUnavailable",
    "Preopen",
    "ReloadFailed",
    "RetireReason",
    "Tool",
    "ToolResult",
    "Wasi",
    "host_function",
    "open_loader",
    "open_plugin",
    "open_pool",
]


def _name_this_as_home() -> None:
    """Errors and types read ``wasmpool.PoolClosed``, wherever in the package they are defined."""
    for name in __all__:
        thing = globals()[name]
        if getattr(thing, "__module__", "").startswith("wasmpool._"):
            thing.__module__ = __name__


_name_this_as_home()
del _name_this_as_home
