"""A trio-native pool of isolated WebAssembly instances.

An instance has one memory, so it can serve one call at a time. A pool has several instances of the
same module, each used by at most one task at a time. Use `open_pool` for any module, `open_plugin`
for a plugin that fulfils the contract, and `open_loader` for many plugins by name. The names that
an application needs from `wasmpool_host`, the layer below, are here as well.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from wasmpool_host import (
    Caller,
    CallTimeout,
    CompileError,
    Frame,
    FunctionType,
    GuestError,
    GuestExit,
    GuestMemoryError,
    GuestTrap,
    Instance,
    InstanceClosed,
    InstanceError,
    InstancePoisoned,
    Limits,
    LinkError,
    Memory,
    Module,
    ModuleError,
    SnapshotError,
    WasmpoolError,
)

from ._errors import (
    LeaseDeadlock,
    LeaseExpired,
    LeaseRevoked,
    PluginError,
    PoolClosed,
    PoolError,
    PoolSaturated,
    PoolTimeout,
    PoolUnavailable,
    ReloadFailed,
)
from ._pool.lease import Lease
from ._pool.pool import KEEP, Pool, open_pool
from ._pool.pool_state import PoolState
from ._pool.retire_reason import RetireReason

if TYPE_CHECKING:
    from wasmpool_host import (
        CAPTURE,
        Completed,
        Component,
        ComponentInstance,
        ComponentWorld,
        Err,
        GuestResource,
        HostFunction,
        Ok,
        Preopen,
        Record,
        RunOptions,
        Some,
        Variant,
        Wasi,
        host_function,
    )

    from ._http.policy import HttpPolicy
    from ._http.wasi_http import WasiHttp, open_wasi_http
    from ._plugin.admission import Candidate
    from ._plugin.changes import Change, ChangeKind, Changes
    from ._plugin.errors import AbiError, ConfigureError, DigestError, PluginClosed
    from ._plugin.loader import Loader, open_loader
    from ._plugin.metadata import Metadata, Tool
    from ._plugin.plugin import Plugin, open_plugin
    from ._plugin.tool_result import ToolResult
    from ._pool.histogram import Histogram
    from ._pool.instruments import Instrument
    from ._pool.statistics import LeaseInfo, PoolStatistics

__all__ = [
    "CAPTURE",
    "KEEP",
    "AbiError",
    "CallTimeout",
    "Caller",
    "Candidate",
    "Change",
    "ChangeKind",
    "Changes",
    "CompileError",
    "Completed",
    "Component",
    "ComponentInstance",
    "ComponentWorld",
    "ConfigureError",
    "DigestError",
    "Err",
    "Frame",
    "FunctionType",
    "GuestError",
    "GuestExit",
    "GuestMemoryError",
    "GuestResource",
    "GuestTrap",
    "Histogram",
    "HostFunction",
    "HttpPolicy",
    "Instance",
    "InstanceClosed",
    "InstanceError",
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
    "ModuleError",
    "Ok",
    "Plugin",
    "PluginClosed",
    "PluginError",
    "Pool",
    "PoolClosed",
    "PoolError",
    "PoolSaturated",
    "PoolState",
    "PoolStatistics",
    "PoolTimeout",
    "PoolUnavailable",
    "Preopen",
    "Record",
    "ReloadFailed",
    "RetireReason",
    "RunOptions",
    "SnapshotError",
    "Some",
    "Tool",
    "ToolResult",
    "Variant",
    "Wasi",
    "WasiHttp",
    "WasmpoolError",
    "host_function",
    "open_loader",
    "open_plugin",
    "open_pool",
    "open_wasi_http",
]


_LAZY: Final = {
    "AbiError": "wasmpool._plugin.errors",
    "CAPTURE": "wasmpool_host",
    "Candidate": "wasmpool._plugin.admission",
    "Change": "wasmpool._plugin.changes",
    "ChangeKind": "wasmpool._plugin.changes",
    "Changes": "wasmpool._plugin.changes",
    "Completed": "wasmpool_host",
    "Component": "wasmpool_host",
    "ComponentInstance": "wasmpool_host",
    "ComponentWorld": "wasmpool_host",
    "ConfigureError": "wasmpool._plugin.errors",
    "DigestError": "wasmpool._plugin.errors",
    "Err": "wasmpool_host",
    "GuestResource": "wasmpool_host",
    "Histogram": "wasmpool._pool.histogram",
    "HostFunction": "wasmpool_host",
    "HttpPolicy": "wasmpool._http.policy",
    "Instrument": "wasmpool._pool.instruments",
    "LeaseInfo": "wasmpool._pool.statistics",
    "Loader": "wasmpool._plugin.loader",
    "Metadata": "wasmpool._plugin.metadata",
    "Ok": "wasmpool_host",
    "Plugin": "wasmpool._plugin.plugin",
    "PluginClosed": "wasmpool._plugin.errors",
    "PoolStatistics": "wasmpool._pool.statistics",
    "Preopen": "wasmpool_host",
    "Record": "wasmpool_host",
    "RunOptions": "wasmpool_host",
    "Some": "wasmpool_host",
    "Tool": "wasmpool._plugin.metadata",
    "ToolResult": "wasmpool._plugin.tool_result",
    "Variant": "wasmpool_host",
    "Wasi": "wasmpool_host",
    "WasiHttp": "wasmpool._http.wasi_http",
    "host_function": "wasmpool_host",
    "open_loader": "wasmpool._plugin.loader",
    "open_plugin": "wasmpool._plugin.plugin",
    "open_wasi_http": "wasmpool._http.wasi_http",
}
"""Names that are imported on first use, so that a program with a bare pool starts faster."""


def _make_public(member: Any) -> Any:
    """Make a class or a function show as ``wasmpool.PoolClosed``, without its private module."""
    if getattr(member, "__module__", "").startswith("wasmpool._"):
        member.__module__ = __name__
    return member


if not TYPE_CHECKING:  # with it, a type checker would accept every name

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        member = _make_public(getattr(import_module(_LAZY[name]), name))
        globals()[name] = member
        return member


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _make_all_public() -> None:
    for name in __all__:
        if name not in _LAZY:
            _make_public(globals()[name])


_make_all_public()
