"""What the pool knows of a module and of an instance, and of nothing else.

`wasmpool_host.Module` and its instances are made to this; the tests' fakes are, too. The pool uses
nothing that is not here, so whatever a type checker accepts works.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Protocol, TypeAlias

__all__ = ["Check", "Instance", "Memory", "Module", "Setup", "SyncInstance", "SyncModule"]


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
        """Why it may not serve again; None if it may.

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
        """Give out what the calls of a lease have printed of a line without its end."""
        ...

    def start_call(self, name: str, args: tuple[Any, ...], /) -> Any:
        """Begin `run_call`: its result, or PENDING.

        Then `finish` is awaited, perhaps by another task that has its turn later; or nobody does,
        where `interrupt` and `aclose` came before. What is done here takes a millisecond at most,
        and is done in one step: no host function is run, and nothing else on the loop.
        """
        ...

    def start_exchange(self, name: str, payload: bytes | None, /) -> Any:
        """The same for `run_exchange`."""
        ...

    async def finish(self) -> Any:
        """Go on with the call that is pending; its result. It ends the output, too."""
        ...

    def interrupt(self, error: BaseException, /) -> None:
        """End the call under way, if any, and return at once: its task gets ``error``."""
        ...

    async def aclose(self) -> None:
        """Free it: bounded, not to be cancelled, safe to call again."""
        ...


class Module(Protocol):
    """Compiled code that instances are made of.

    One whose class also has ``start_instance`` and ``finish_start`` is a `SyncModule`.
    """

    @property
    def name(self) -> str:
        """What messages, logs and `repr` call a pool of it that has no name of its own."""
        ...

    @property
    def identity(self) -> Hashable:
        """Equal for modules that are the same: a reload from one to the other does nothing."""
        ...

    async def instantiate(self) -> Instance:
        """Make an instance; where it fails or is cancelled, nothing is left of it."""
        ...


class SyncModule(Module, Protocol):
    """One that can start and close instances in one synchronous step.

    No module has to. A pool makes use of it where the module's class has both methods.
    """

    def start_instance(self) -> tuple[SyncInstance, bool]:
        """The first slice of ``instantiate``: the instance, and whether it is ready to serve.

        As with ``start_call``, it is done in one step of a millisecond at most.
        """
        ...

    async def finish_start(self, instance: Any, /) -> None:
        """The rest of it, where it was not ready; it raises and is cancelled as ``instantiate``."""
        ...


class SyncInstance(Instance, Protocol):
    """What it makes."""

    def close_now(self) -> bool:
        """Free it at once. False: that cannot be, and ``aclose`` is to be awaited."""
        ...


Setup: TypeAlias = Callable[[Any], Awaitable[Any] | object]
"""Runs on every new instance before it serves; async or plain."""

Check: TypeAlias = Callable[[Any], Awaitable[bool | None] | bool | None]
"""Says whether an instance may serve on; async or plain. False or an exception retires it."""
