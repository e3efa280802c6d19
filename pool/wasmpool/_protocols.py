"""What the pool knows of a module and of an instance, and of nothing else.

`wasmpool_host.Module` and its instances are made to this; the tests' fakes are, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Protocol, TypeAlias

from wasmpool_host import PENDING

__all__ = [
    "PENDING",
    "Check",
    "Instance",
    "InstanceAtOnce",
    "Memory",
    "Module",
    "ModuleAtOnce",
    "Setup",
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
        """Why it may not serve again, as one of the first six of `RetireReason`; else None."""
        ...

    async def run_call(self, name: str, args: tuple[Any, ...], /) -> Any:
        """Call an export, without a checkpoint before the guest starts."""
        ...

    async def run_exchange(self, name: str, payload: bytes | None, /) -> bytes:
        """Exchange bytes with an export, without a checkpoint before the guest starts."""
        ...

    def start_call(self, name: str, args: tuple[Any, ...], /) -> Any:
        """Begin `run_call`: its result, or PENDING, and then `finish` is awaited at once.

        What is done here takes a millisecond at most, and is done in one step: the caller's own
        code is not run, and nothing else on the loop.
        """
        ...

    def start_exchange(self, name: str, payload: bytes | None, /) -> Any:
        """The same for `run_exchange`."""
        ...

    async def finish(self) -> Any:
        """Go on with the call that is pending; its result."""
        ...

    def interrupt(self, error: BaseException, /) -> None:
        """End the call under way, if any, and return at once: its task gets ``error``."""
        ...

    async def aclose(self) -> None:
        """Free it: bounded, not to be cancelled, safe to call again."""
        ...


class Module(Protocol):
    """Compiled code that instances are made of."""

    @property
    def identity(self) -> Hashable:
        """Equal for modules that are the same: a reload from one to the other does nothing."""
        ...

    async def instantiate(self) -> Any:
        """Make an `Instance`; where it fails or is cancelled, nothing is left of it."""
        ...


class ModuleAtOnce(Module, Protocol):
    """A module whose instances can be started and closed in one step, as a rule: it may be one."""

    def start_instance(self) -> tuple[InstanceAtOnce, bool]:
        """The first slice of ``instantiate``: the instance, and whether it is ready to serve.

        As with ``start_call``, it is done in one step of a millisecond at most.
        """
        ...

    async def finish_start(self, instance: Any, /) -> None:
        """The rest of it, where it was not ready; it raises and is cancelled as ``instantiate``."""
        ...


class InstanceAtOnce(Instance, Protocol):
    """What it makes."""

    def close_now(self) -> bool:
        """Free it at once. False: that cannot be, and ``aclose`` is to be awaited."""
        ...


Setup: TypeAlias = Callable[[Any], Awaitable[Any] | object]
"""Runs on every new instance before it serves; async or plain."""

Check: TypeAlias = Callable[[Any], Awaitable[bool | None] | bool | None]
"""Says whether an instance may serve on; async or plain. False or an exception retires it."""
