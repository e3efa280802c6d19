"""All that the pool knows of a module and of an instance.

`wasmpool_host.lowlevel.DrivenModule` and its instances follow these protocols, and so do the tests'
fakes. The pool uses nothing else of them, so whatever a type checker accepts works. As a rule a
pool is given a `wasmpool_host.Module`, and drives it by a `DrivenModule` (`options.drive`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import wasmpool_host
    from wasmpool_host import Completed
    from wasmpool_host.lowlevel import Pending

__all__ = ["Check", "Instance", "Memory", "Module", "ModuleLike", "Setup"]


class Memory(Protocol):
    """An instance's linear memory."""

    def read(self, ptr: int, size: int, /) -> bytes: ...
    def write(self, ptr: int, data: bytes, /) -> None: ...
    @property
    def size(self) -> int: ...


class Instance(Protocol):
    """One isolated instance, used by one task at a time.

    Its start and its calls are driven in the same way: ``start``, ``start_call`` and
    ``start_exchange`` return the result or PENDING. They take a millisecond at most and are one
    step: they run no host function, and nothing else on the loop. After PENDING `finish` is
    awaited, perhaps by another task and later; or it never is, if `interrupt` and `aclose` came
    before.
    """

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

    def start(self) -> Pending | None:
        """Make it ready to serve. If this or its `finish` fails, nothing is left of it."""
        ...

    def start_call(self, name: str, args: tuple[Any, ...], /) -> Any:
        """Begin to call an export. Return its result, or PENDING."""
        ...

    def start_exchange(self, name: str, payload: bytes | None, /) -> bytes | Pending:
        """Begin to exchange bytes with an export. Return its result, or PENDING."""
        ...

    def finish(self) -> Awaitable[Any]:
        """Finish what is pending and return its result. It ends the output, too."""
        ...

    async def run_call(self, name: str, args: tuple[Any, ...], /) -> Any:
        """Do `start_call` and `finish` within a lease, without ending the output."""
        ...

    async def run_exchange(self, name: str, payload: bytes | None, /) -> bytes:
        """Do `start_exchange` and `finish` within a lease, without ending the output."""
        ...

    async def run_program(
        self, args: Iterable[str] | None, export: str, world: Mapping[str, Any], /, *, check: bool
    ) -> Completed:
        """Run its module as a program; unless that is refused, it is poisoned then."""
        ...

    def end_output(self) -> None:
        """Emit a last line that the calls of a lease have printed without its end."""
        ...

    def interrupt(self, error: BaseException, /) -> None:
        """End the call under way, if any, and return at once: its task gets ``error``."""
        ...

    def close_now(self) -> bool:
        """Free it at once. False if that is not possible: then `aclose` must be awaited."""
        ...

    async def aclose(self) -> None:
        """Free it: in bounded time, regardless of cancels, and safe to call again."""
        ...


@runtime_checkable
class Module(Protocol):
    """Compiled code that instances are made from."""

    @property
    def name(self) -> str:
        """The name of a pool that was opened without a name, in messages, logs and `repr`."""
        ...

    @property
    def identity(self) -> Hashable:
        """Equal for modules that are the same: a reload from one to the other does nothing."""
        ...

    def new_instance(self) -> Instance:
        """Make an instance that is not started, in one step of a millisecond at most."""
        ...


ModuleLike: TypeAlias = "wasmpool_host.Module | Module"
"""What a pool can be opened with, or reloaded."""

Setup: TypeAlias = Callable[[Any], Awaitable[Any] | object]
"""Runs on every new instance before it serves; async or plain."""

Check: TypeAlias = Callable[[Any], Awaitable[bool | None] | bool | None]
"""Returns whether an instance may serve again; async or plain. False or an exception retires it."""
