"""All that the pool knows of a module and of an instance.

`wasmpool_host.Module` and its instances follow these protocols, and so do the tests' fakes. The
pool uses nothing else of them, so whatever a type checker accepts works.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast, runtime_checkable

if TYPE_CHECKING:
    from wasmpool_host.lowlevel import Pending

__all__ = [
    "Check",
    "Instance",
    "Memory",
    "Module",
    "Setup",
    "SyncInstance",
    "SyncModule",
    "as_sync",
]


class Memory(Protocol):
    """An instance's linear memory."""

    def read(self, ptr: int, size: int, /) -> bytes: ...
    def write(self, ptr: int, data: bytes, /) -> None: ...
    @property
    def size(self) -> int: ...


class Instance(Protocol):
    """One isolated instance, used by one task at a time."""

    @property
    def memory(self) -> Memory:
        """Its linear memory; `trio.BusyResourceError` during a call."""
        ...

    @property
    def memory_size(self) -> int:
        """Bytes of linear memory now; 0 without one."""
        ...

    @property
    def poisoned(self) -> str | None:
        """Why it may not serve again, or None if it may.

        One of the first six of `RetireReason`, or ``"closed"`` from the beginning of its close.
        """
        ...

    async def run_call(self, name: str, args: tuple[Any, ...], /) -> Any:
        """Call an export within a lease, without a checkpoint before the guest starts."""
        ...

    async def run_exchange(self, name: str, payload: bytes | None, /) -> bytes:
        """Exchange bytes within a lease, without a checkpoint before the guest starts."""
        ...

    def end_output(self) -> None:
        """Emit a last line that the calls of a lease have printed without its end."""
        ...

    def start_call(self, name: str, args: tuple[Any, ...], /) -> Any:
        """Begin `run_call`. Return its result, or PENDING.

        After PENDING `finish` is awaited, perhaps by another task and later; or it never is, if
        `interrupt` and `aclose` came before. This takes a millisecond at most and is one step: it
        runs no host function, and nothing else on the loop.
        """
        ...

    def start_exchange(self, name: str, payload: bytes | None, /) -> bytes | Pending:
        """Begin `run_exchange`, in the same way."""
        ...

    async def finish(self) -> Any:
        """Finish the call that is pending and return its result. It ends the output, too."""
        ...

    def interrupt(self, error: BaseException, /) -> None:
        """End the call under way, if any, and return at once: its task gets ``error``."""
        ...

    async def aclose(self) -> None:
        """Free it: in bounded time, regardless of cancels, and safe to call again."""
        ...


class Module(Protocol):
    """Compiled code that instances are made from.

    One whose class also has ``start_instance`` and ``finish_start`` is a `SyncModule`.
    """

    @property
    def name(self) -> str:
        """The name of a pool that was opened without a name, in messages, logs and `repr`."""
        ...

    @property
    def identity(self) -> Hashable:
        """Equal for modules that are the same: a reload from one to the other does nothing."""
        ...

    async def instantiate(self) -> Instance:
        """Make an instance; if it fails or is cancelled, nothing is left of it."""
        ...


@runtime_checkable
class _HasSyncStart(Protocol):
    """The methods that a `SyncModule` adds to a `Module`."""

    def start_instance(self) -> tuple[SyncInstance, bool]:
        """Begin ``instantiate``. Return the instance, and whether it is ready to serve.

        As with ``start_call``, it is one step of a millisecond at most.
        """
        ...

    async def finish_start(self, instance: Any, /) -> None:
        """Finish a start that was not ready; it raises and is cancelled as ``instantiate``."""
        ...


class SyncModule(Module, _HasSyncStart, Protocol):
    """One that can start and close instances in one synchronous step.

    This is optional. A pool makes use of it if the module's class has both methods.
    """


class SyncInstance(Instance, Protocol):
    """An instance of a `SyncModule`."""

    def close_now(self) -> bool:
        """Free it at once. False if that is not possible: then ``aclose`` must be awaited."""
        ...


def as_sync(module: Module) -> SyncModule | None:
    """Return the module as a `SyncModule`, or None if its class is not one."""
    return cast("SyncModule", module) if issubclass(type(module), _HasSyncStart) else None


Setup: TypeAlias = Callable[[Any], Awaitable[Any] | object]
"""Runs on every new instance before it serves; async or plain."""

Check: TypeAlias = Callable[[Any], Awaitable[bool | None] | bool | None]
"""Returns whether an instance may serve again; async or plain. False or an exception retires it."""
