"""One task's exclusive right to one instance, for the length of a block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Self, final

import trio

from wasmpool._errors import LeaseExpired, LeaseRevoked
from wasmpool_host.lowlevel import check_process, check_trio

from .acquire import acquire, acquire_nowait
from .observed import observed
from .slot import Slot, SlotState

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Unpack

    from wasmpool_host import Completed, RunOptions

    from .call_site import CallSite
    from .core import Core
    from .generation import Generation
    from .protocols import Memory

__all__ = ["Lease", "LeasedMemory"]


@final
class Lease:
    """An exclusive right to one instance: ``async with pool.lease() as lease:``.

    Entering waits for an instance; leaving gives it back, and never waits. Outside its block a
    lease cannot be used, even if its instance is still alive. Child tasks may use it, one call at
    a time: two at once is `trio.BusyResourceError`.

    An exception in the block does not retire the instance by itself; what happened to the instance
    does. A block that ends while a child's call is under way ends that call with `LeaseExpired`.
    """

    __slots__ = ("_call_site", "_calls", "_core", "_entered", "_generation", "_nowait", "_slot")

    def __init__(self, core: Core, call_site: CallSite | None, *, nowait: bool) -> None:
        """`Pool.lease` and `Pool.lease_nowait` make leases."""
        self._core = core
        self._call_site = call_site
        self._nowait = nowait
        self._entered = False
        self._calls = 0
        """Calls under way; above 1 for the moment of a BusyResourceError."""
        self._slot: Slot | None = None
        self._generation: Generation | None = None

    if not TYPE_CHECKING:  # type checkers report these uses themselves

        def __await__(self) -> NoReturn:
            raise TypeError("a lease is not awaited: use `async with pool.lease() as lease:`")

        def __enter__(self) -> NoReturn:
            raise TypeError("a lease needs `async with`: use `async with pool.lease() as lease:`")

        def __exit__(self, *_: object) -> None:
            """Python looks this up before it calls ``__enter__``."""

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a lease is entered once: ask the pool for another")
        self._entered = True
        if self._nowait:
            slot = acquire_nowait(self._core, self._call_site)
        else:
            slot = await acquire(self._core, self._call_site)
        self._slot = slot
        self._generation = slot.generation
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        slot, self._slot = self._slot, None
        if slot is None:
            return
        try:
            if slot.state is SlotState.LEASED:  # else it was revoked
                if self._calls:
                    slot.instance.interrupt(self._expired_during_call())
                else:
                    slot.instance.end_output()
        finally:
            self._core.give_back(slot, busy=self._calls > 0)

    async def call(self, name: str, *args: Any) -> Any:
        """Call an exported function of the instance.

        Args:
            name: the export's.
            args: one number for each of its parameters; of a component one value of its type.

        Returns:
            None, the one result, or a tuple of several; of a component the result.

        Raises:
            LeaseExpired: the lease's block has ended, before the call or during it.
            LeaseRevoked: the grace of a close or of a reload ended, before the call or during it.
            trio.BusyResourceError: another call on this lease is under way.
            TypeError, ValueError: no such export, or arguments that do not fit its type.
            GuestTrap, GuestExit, GuestMemoryError, CallTimeout: how the guest failed.
            Exception: what a host function raised.
            InstancePoisoned: an earlier call ended in one of these ways, or was cancelled.
            InstanceClosed: other code, to which a setup passed the instance, closed it.
            MemoryError: there is no room for the guest's stack.
            RecursionError: there is too little left of the Python stack.
            RuntimeError: the lease was not entered, or this is a forked child.

        It is a checkpoint before the guest starts. A cancel after that ends the guest, and the
        instance does not serve again; once the guest has returned, a cancel raises nothing.
        """
        slot = await self._checkpoint()
        self._calls += 1
        try:
            call = slot.instance.run_call(name, args)
            return await observed(self._core, name, None, call)
        finally:
            self._calls -= 1

    async def exchange(self, name: str, payload: bytes | None = None) -> bytes:
        """Exchange bytes with an export of the packed ABI.

        Args:
            name: the export's, of type (i64) -> i64, or () -> i64 where there is no payload.
            payload: None calls the export without an argument; empty is packed 0.

        Raises:
            LinkError: a payload for a guest without malloc.
            GuestMemoryError: the result is outside the memory or above ``limits.payload``, or
                malloc gave nothing.
            ValueError: no such export, or a payload above ``limits.payload``.
            Exception: as `call`.

        A checkpoint and a cancel are as for `call`.
        """
        slot = await self._checkpoint()
        self._calls += 1
        try:
            exchange = slot.instance.run_exchange(name, payload)
            return await observed(self._core, name, None, exchange)
        finally:
            self._calls -= 1

    async def run(
        self,
        args: Iterable[str] | None = None,
        *,
        export: str = "_start",
        check: bool = False,
        **world: Unpack[RunOptions],
    ) -> Completed:
        """Run the module as a program, as `Instance.run`; after that the lease is of no more use.

        The instance retires as ``"finished"`` when the lease ends. A spare for the next run is
        begun at once.

        Raises:
            LeaseExpired, LeaseRevoked: as `call`.
            Exception: as `Instance.run`.

        A checkpoint and a cancel are as for `call`.
        """
        run = self._run(args, export, world, check=check)
        return await observed(self._core, export, None, run)

    async def _run(
        self, args: Iterable[str] | None, export: str, world: RunOptions, *, check: bool
    ) -> Completed:
        slot = await self._checkpoint()
        self._calls += 1
        try:
            self._core.begin_run(slot)
            return await slot.instance.run_program(args, export, world, check=check)
        finally:
            self._calls -= 1
            self._core.end_run(slot)

    @property
    def memory(self) -> LeasedMemory:
        """The instance's linear memory, for as long as the lease is alive.

        Raises:
            LeaseExpired, LeaseRevoked: the lease has ended or was revoked.
            RuntimeError: the lease was not entered.
        """
        self._use()
        return LeasedMemory(self)

    @property
    def generation(self) -> int:
        """The number of its instance's generation; it can be read after the block, too.

        Raises:
            RuntimeError: the lease was not entered.
        """
        return self._entered_generation().number

    @property
    def closing(self) -> trio.Event:
        """Set when the lease should end soon: the pool closes, or its generation was replaced.

        Raises:
            RuntimeError: the lease was not entered.
        """
        return self._entered_generation().closing

    def discard(self) -> None:
        """Do not let this instance serve again after the lease.

        Raises:
            LeaseExpired, LeaseRevoked: the lease has ended or was revoked.
            RuntimeError: the lease was not entered.
        """
        self._core.discard(self._use())

    async def _checkpoint(self) -> Slot:
        """Make the checkpoint before a call, and return the instance's slot."""
        check_process()
        try:
            await trio.lowlevel.checkpoint()
        except RuntimeError:  # outside of trio; this takes time, so it is not tested before
            check_trio(f"a lease of pool {self._core.name!r}")
            raise
        return self._use()

    def _use(self) -> Slot:
        """Return the instance's slot, or raise if the lease is not alive."""
        slot = self._slot
        if slot is not None and slot.state is SlotState.LEASED:
            return slot
        name = self._core.name
        if slot is not None:
            raise LeaseRevoked(slot.revoked)
        if self._entered:
            raise LeaseExpired(f"this lease of pool {name!r} has ended: ask the pool for another")
        raise self._not_entered()

    def _entered_generation(self) -> Generation:
        if self._generation is None:
            raise self._not_entered()
        return self._generation

    def _not_entered(self) -> RuntimeError:
        return RuntimeError(
            f"this lease of pool {self._core.name!r} was not entered:"
            " `async with pool.lease() as lease:`"
        )

    def _expired_during_call(self) -> LeaseExpired:
        return LeaseExpired(
            f"the block of a lease of pool {self._core.name!r} ended while a call on it was"
            " under way: keep the block open until the tasks that use the lease are done"
        )

    def __repr__(self) -> str:
        if self._slot is None:
            return f"<Lease of pool {self._core.name!r}: {'ended' if self._entered else 'new'}>"
        return f"<Lease of pool {self._core.name!r}: instance {self._slot.number}>"


@final
class LeasedMemory:
    """The linear memory of a leased instance, for as long as the lease is alive.

    Each use raises `LeaseExpired` or `LeaseRevoked` once the lease has ended,
    `trio.BusyResourceError` during a call, and `InstanceClosed` if other code has closed the
    instance.
    """

    __slots__ = ("_lease",)

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    @property
    def size(self) -> int:
        """Bytes of memory now."""
        return self._memory().size

    def read(self, ptr: int, size: int) -> bytes:
        """Copy ``size`` bytes at ``ptr``.

        Raises:
            GuestMemoryError: the region is not all inside the memory.
            ValueError: these cannot be an address and a size.
        """
        return self._memory().read(ptr, size)

    def write(self, ptr: int, data: bytes) -> None:
        """Copy ``data`` to ``ptr``.

        Raises:
            GuestMemoryError: the region is not all inside the memory; nothing was written.
            ValueError: this cannot be an address.
        """
        self._memory().write(ptr, data)

    def _memory(self) -> Memory:
        return self._lease._use().instance.memory  # noqa: SLF001 - a class of this file
