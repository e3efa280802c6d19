"""The pool as its users see it."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from random import Random
from threading import get_ident
from typing import TYPE_CHECKING, Any, final
from weakref import WeakSet

import trio
from trio.lowlevel import checkpoint, current_task

from wasmpool._block import Block
from wasmpool._errors import PoolClosed, PoolUnavailable, as_one_line
from wasmpool_host.lowlevel import (
    PENDING,
    SOFT_LIMIT,
    budget_of_this_run,
    check_headroom,
    check_trio,
    give_back_when_none_is_open,
)

from .acquire import call_with_lease, check_run
from .call_site import caller_site
from .core import Core
from .deadlines import Deadlines
from .generation import Generation
from .hooks import Hooks
from .lease import Lease
from .log_extra import LogExtra
from .maintenance import Maintenance
from .observed import observed
from .options import Options, check_grace, check_setup, check_sizes, drive
from .pool_state import PoolState
from .reload import KEEP, Keep, Reloads
from .retire_reason import RetireReason
from .snapshot import lease_info, pool_statistics

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        AsyncIterator,
        Callable,
        Iterable,
        Sequence,
    )
    from contextlib import AbstractAsyncContextManager
    from typing import Unpack

    from wasmpool_host import Completed, RunOptions

    from .options import QueueOnClose
    from .protocols import Check, Instance, Module, ModuleLike, Setup
    from .slot import Slot
    from .statistics import LeaseInfo, PoolStatistics

__all__ = ["KEEP", "Pool", "open_pool", "run_pool"]


def open_pool(  # noqa: PLR0913 - each option has its name
    module: ModuleLike,
    *,
    size: int = 8,
    min_size: int = 1,
    name: str | None = None,
    setup: Setup | None = None,
    check: Check | None = None,
    max_waiting: int | None = None,
    max_wait: float | None = None,
    max_uses: int | None = None,
    max_age: float | None = None,
    max_idle: float | None = None,
    max_memory: int | None = None,
    start_timeout: float = 30.0,
    grace: float = 30.0,
    max_generations: int = 2,
    queue_on_close: QueueOnClose = "fail",
    leak_after: float | None = 60.0,
    instruments: Sequence[Any] = (),
) -> AbstractAsyncContextManager[Pool]:
    """Open a pool of isolated instances of a module, for the length of an ``async with`` block.

    The block is entered once ``min_size`` instances are ready. At its normal end the pool closes
    as by `Pool.aclose`; after an exception it closes with a grace of zero, and the exception is
    raised as it is, in no group. Nothing of the pool outlives the block. A cancel while it opens
    closes what was started.

    Args:
        module: the compiled module that instances are made from.
        size: how many instances may be alive at once.
        min_size: how many are kept warm.
        name: for messages, logs and ``repr``; the module's by default.
        setup: ``setup(instance)``, plain or async, runs on every new instance before it serves.
            If it raises, or leaves the instance poisoned or closed, the start has failed.
        check: ``check(instance) -> bool``, plain or async, runs before an instance that idled
            for more than a second serves again, and on the first instances of a reload. If it
            returns False, raises, or leaves the instance poisoned or closed, the instance
            retires; the task that asked keeps its place in the queue.
        max_waiting: how many tasks may wait in the queue; None for any number.
        max_wait: seconds that a task waits in the queue at most; None for ever. With 0 a task
            never waits for a lease to end, but does wait for an instance that is started or
            checked for it, or for the room of one that is being closed.
        max_uses: leases after which an instance retires (less up to 5 %, at random). With 1
            each lease has a pristine instance, and the next is begun when one is granted.
        max_age: seconds after which an instance retires (less up to 5 %, at random).
        max_idle: seconds without a lease after which instances above ``min_size`` retire.
        max_memory: bytes of linear memory, exported or not, above which an instance retires
            after its lease.
        start_timeout: seconds that start, setup and check may take together.
        grace: seconds that leases have when the pool closes, or their generation is replaced.
        max_generations: how many generations may be alive at once; a reload that would exceed
            it waits for the oldest to go.
        queue_on_close: what happens to tasks that wait when the pool closes. ``"fail"``: they
            get `PoolClosed` at once; ``"serve"``: they are served first, within the grace.
        leak_after: seconds after which a lease is logged, once, with its task and the line of
            code that took it; None for no such log.
        instruments: objects with any of the methods of `Instrument`.

    Raises:
        TypeError, ValueError: a parameter is out of its range; at once.
        PoolUnavailable: on entering: instances cannot be started, and ``__cause__`` says why:
            what start or setup raised, `trio.TooSlowError` after ``start_timeout``, or
            `InstancePoisoned` or `InstanceClosed` where a setup left the instance so.
        RuntimeError: on entering: outside of a trio run.
    """
    driven = drive(module)
    options = Options(
        size=size, min_size=min_size, name=name, setup=setup, check=check, max_waiting=max_waiting,
        max_wait=max_wait, max_uses=max_uses, max_age=max_age, max_idle=max_idle,
        max_memory=max_memory, start_timeout=start_timeout, grace=grace,
        max_generations=max_generations, queue_on_close=queue_on_close, leak_after=leak_after,
        instruments=instruments,
    )  # fmt: skip
    return Block("open_pool", "pool", run_pool(driven, options))


@asynccontextmanager
async def run_pool(module: Module, options: Options) -> AsyncGenerator[Pool]:
    """Run a pool around a block.

    The pool's tasks are in a nursery that a cancel from outside does not reach: a cancelled block
    may still be in a shielded part that uses the pool, and the close needs the tasks. The block
    is outside of that nursery, so a cancel reaches the block as usual. The error that ends the
    block is kept until the nursery is gone: raised inside, it would be wrapped in a group.
    """
    check_trio("open_pool")
    ended_with: BaseException | None = None
    async with trio.open_nursery() as around:
        nursery = await _start_nursery(around)
        pool = Pool(module, options, nursery, around.cancel_scope)
        del module  # a reload may replace it
        try:
            await pool._start_first()  # noqa: SLF001 - a class of this file
            yield pool
            await pool._end()  # noqa: SLF001 - of this file
        except BaseException as error:  # noqa: BLE001 - raised below
            ended_with = error
            with trio.CancelScope(shield=True):
                await pool._end(grace=0)  # noqa: SLF001 - of this file
        around.cancel_scope.shield = True
        nursery.cancel_scope.cancel()
    ended_with = pool._detach() or ended_with  # noqa: SLF001 - a class of this file
    if ended_with is not None:
        try:
            raise ended_with
        finally:
            del ended_with  # it has this frame in its traceback


async def _start_nursery(around: trio.Nursery) -> trio.Nursery:
    with trio.CancelScope(shield=True):  # a nursery cancelled while it starts would never end
        nursery: trio.Nursery = await around.start(_shielded_nursery)
        return nursery
    raise AssertionError("a shield is never cancelled")  # pragma: no cover - for type checkers


async def _shielded_nursery(task_status: trio.TaskStatus[trio.Nursery]) -> None:
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await trio.sleep_forever()


@final
class Pool:
    """A pool of isolated instances of one module, each used by at most one task at a time.

    `open_pool` makes it. It belongs to the trio run in which it was opened. `statistics`,
    `leases` and ``repr`` still work when it is closed.
    """

    __slots__ = ("__weakref__", "_budget", "_core", "_maintenance", "_reloads", "_thread")

    def __init__(
        self, module: Module, options: Options, nursery: trio.Nursery, body: trio.CancelScope
    ) -> None:
        """`open_pool` makes pools."""
        name = options.name or module.name or "wasm"
        hooks = Hooks(options.instruments)
        hooks.pool = self
        first = Generation(1, module, options.setup)
        core = Core(name, options, first, Random(), hooks)  # noqa: S311 - for jitter
        hooks.log_extra = LogExtra(core)
        self._core = core
        self._maintenance = Maintenance(core, nursery, body)
        core.attach(self._maintenance, Deadlines(core, self._maintenance.spawn))
        self._reloads = Reloads(core, self._maintenance)
        self._thread = get_ident()
        self._budget = budget_of_this_run()
        _pools.add(self)

    # --- leases and calls ---

    def lease(self) -> Lease:
        """Lease an instance: ``async with pool.lease() as lease:`` waits for one and holds it.

        Entering is a checkpoint; a task that is cancelled there has taken nothing. Leaving gives
        the instance back, and neither waits nor is a checkpoint.

        Raises on entering:
            PoolClosed: the pool is closing or closed, or begins to close during the wait.
            PoolSaturated: ``max_waiting`` tasks wait already.
            PoolTimeout: no instance became free within ``max_wait``.
            PoolUnavailable: instances cannot be started, and there is none to wait for.
            LeaseRevoked: a grace of zero ended before the task could run.
            LeaseDeadlock: each instance is leased by a task that waits for another. A holder that
                waits through a child task is not seen: use ``max_wait`` there.
            RecursionError: there is too little left of the Python stack.
            RuntimeError: the pool belongs to another trio run, this is a forked child, or the
                lease was entered before.
        """
        return Lease(self._core, caller_site(1), nowait=False)

    def lease_nowait(self) -> Lease:
        """Lease an instance if one is idle: entering never waits, and is no checkpoint.

        An instance that needs a ``check`` before it serves again does not count as idle.

        Raises on entering:
            trio.WouldBlock: none is idle, or others wait. Nothing is started.
            PoolClosed: the pool is closing or closed.
            RecursionError, RuntimeError: as entering a `lease`.
        """
        return Lease(self._core, caller_site(1), nowait=True)

    @trio.lowlevel.enable_ki_protection
    async def call(self, name: str, *args: Any) -> Any:
        """Call an exported function on whichever instance is free.

        Args:
            name: the export's.
            args: one number for each of its parameters; of a component one value of its type.

        Returns:
            None, the one result, or a tuple of several; of a component the result.

        Raises:
            LeaseRevoked: the grace of a close or of a reload ended during the call.
            PoolClosed, PoolSaturated, PoolTimeout, PoolUnavailable, LeaseDeadlock: no instance
                was granted, as for entering a `lease`.
            TypeError, ValueError: no such export, or arguments that do not fit its type.
            GuestTrap, GuestExit, GuestMemoryError, CallTimeout: how the guest failed.
            Exception: what a host function raised.
            InstanceClosed, InstancePoisoned, trio.BusyResourceError: other code, to which a setup
                passed the instance, closes, poisons or uses it at the same time.
            MemoryError: there is no room for the guest's stack.
            RecursionError: there is too little left of the Python stack.
            RuntimeError: the pool belongs to another trio run, or this is a forked child.

        It is a checkpoint before an instance is taken, or several while guests take all of the
        loop's time. A cancel after that ends the guest, and the instance is replaced; once the
        guest has returned, a cancel raises nothing.
        """
        if get_ident() != self._thread:
            self._check_run()
        try:
            await checkpoint()
        except RuntimeError:  # outside of trio; this takes time, so it is not tested before
            self._check_run()
            raise
        if self._budget.spent > SOFT_LIMIT:
            await self._yield_passes()
        core = self._core
        slot = core.peek_idle()
        if slot is None or core.hooks.active:
            start_call = partial(_start_call, name, args)
            return await call_with_lease(core, caller_site(1), name, start_call)
        # Most calls end in their first slice. It runs while the instance still stands among the
        # idle ones, so that these calls do without a lease. Until `grant_idle` another task could
        # take the same instance: nothing may be awaited before.
        began = core.now()
        if slot.uses + 1 >= slot.last_use:
            check_headroom()  # to replace the instance at the end
        try:
            result = slot.instance.start_call(name, args)
            if result is PENDING:
                core.grant_idle(slot, current_task(), caller_site(1), began)
                result = await slot.instance.finish()
        finally:
            core.finish_call(slot, began)
        return result

    @trio.lowlevel.enable_ki_protection
    async def exchange(
        self, name: str, payload: bytes | None = None, *, tool: str | None = None
    ) -> bytes:
        """Exchange bytes with an export of the packed ABI on whichever instance is free.

        Args:
            name: the export's, of type (i64) -> i64, or () -> i64 where there is no payload.
            payload: None calls the export without an argument; empty is packed 0.
            tool: what the guest is asked for, where one export does many things. Log records of
                the call have it, and instruments get it.

        Raises:
            LinkError: a payload for a guest without malloc.
            GuestMemoryError: the result is outside the memory or above ``limits.payload``, or
                malloc gave nothing.
            ValueError: no such export, or a payload above ``limits.payload``.
            Exception: as `call`.

        A checkpoint and a cancel are as for `call`.
        """
        if get_ident() != self._thread:
            self._check_run()
        try:
            await checkpoint()
        except RuntimeError:  # outside of trio; this takes time, so it is not tested before
            self._check_run()
            raise
        if self._budget.spent > SOFT_LIMIT:
            await self._yield_passes()
        core = self._core
        slot = core.peek_idle()
        if slot is None or core.hooks.active:
            start_exchange = partial(_start_exchange, name, payload)
            answer: bytes = await call_with_lease(core, caller_site(1), name, start_exchange, tool)
            return answer
        began = core.now()
        if slot.uses + 1 >= slot.last_use:
            check_headroom()  # to replace the instance at the end
        try:  # nothing may be awaited before `grant_idle`, as in `call`
            result = slot.instance.start_exchange(name, payload)
            if result is PENDING:
                core.grant_idle(slot, current_task(), caller_site(1), began)
                core.note_tool(slot, tool)
                result = await slot.instance.finish()
        finally:
            core.finish_call(slot, began)
        return result

    @trio.lowlevel.enable_ki_protection
    async def run(
        self,
        args: Iterable[str] | None = None,
        *,
        export: str = "_start",
        check: bool = False,
        **world: Unpack[RunOptions],
    ) -> Completed:
        """Run the module as a program, in a pristine instance and a world of its own.

        The instance retires as ``"finished"`` after it, whatever ``max_uses`` says. Another one is
        begun as soon as this one is taken, so with enough of them ready (``min_size``) a run waits
        for no start, and sees nothing of another.

        Args:
            args: all arguments, the program's own name first. None: the module's ``wasi.args``, or
                its name.
            export: what is called, of type () -> (), or () -> i32 for a return code.
            check: raise for a return code other than 0.
            world: see `RunOptions`.

        Returns:
            How it ended, and what it wrote.

        Raises:
            PoolClosed, PoolSaturated, PoolTimeout, PoolUnavailable, LeaseDeadlock, LeaseRevoked: as
                `call`.
            Exception: as `Instance.run`.

        It is a checkpoint before an instance is taken, and another before the program starts. A
        cancel after that ends it.
        """
        lease = Lease(self._core, caller_site(1), nowait=False)
        return await observed(
            self._core, export, None, _run(lease, args, export, world, check=check)
        )

    def map(
        self,
        name: str,
        args: Iterable[object] | AsyncIterable[object],
        limit: int | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[Any | Exception]]:
        """Call an exported function once for each item of an input, some calls at once.

        ``async with pool.map("add", pairs) as results:`` and then ``async for result in results:``.

        Args:
            name: the export's.
            args: an iterable or an async iterable, endless if you like: it is read as far as there
                is room. An item is the one argument of its call, or a tuple or list of all. An
                async generator is closed at the end of the block.
            limit: how many calls may be under way and results kept, together. None: as many calls
                as the pool has instances, and eight results for each, so that the others go on
                while one is slow.

        Returns:
            A block that yields the results in the order of the input. Each is what its call
            returned, or the exception that it raised, as for `call`. What reading the input raises
            is raised after the results of what was read.

        Raises:
            TypeError, ValueError: at once: ``args`` cannot be read item by item, or ``limit`` is
                out of its range.
            RuntimeError: on entering: the pool belongs to another trio run, or this is a forked
                child.

        The end of the block ends the calls under way, however it ends. The next result is a
        checkpoint if it has to be waited for.
        """
        from wasmpool._in_order import open_results  # noqa: PLC0415 - `import wasmpool` is faster without

        async def call(given: object) -> Any:
            if isinstance(given, (tuple, list)):
                return await self.call(name, *given)
            return await self.call(name, given)

        return open_results("pool.map", call, args, limit=limit, size=self._size_here)

    def _size_here(self) -> int:
        self._check_run()
        return self._core.size

    async def _yield_passes(self) -> None:
        self._check_run()
        if self._budget.is_exhausted():
            await self._budget.yield_passes()

    # --- bounds, reload, close ---

    @trio.lowlevel.enable_ki_protection
    async def resize(self, size: int, min_size: int | None = None) -> None:
        """Set the bounds; returns once they are set.

        Idle instances above ``size`` go at once, leased ones when they are given back.

        Args:
            size: how many instances may be alive at once.
            min_size: how many are kept warm; None for as many as before, but not above ``size``.
                It does not grow back by itself when ``size`` does.

        Raises:
            TypeError, ValueError: these cannot be a pool's bounds.
            PoolClosed: the pool is closing or closed.
            RuntimeError: the pool belongs to another trio run, or this is a forked child.

        It is a checkpoint; cancelled there, it has done nothing.
        """
        self._check_run()
        check_sizes(size, 0 if min_size is None else min_size)
        await trio.lowlevel.checkpoint()
        self._check_open()
        core = self._core
        core.resize(size, min(core.min_size, size) if min_size is None else min_size)

    @trio.lowlevel.enable_ki_protection
    async def reload(
        self,
        module: ModuleLike,
        *,
        setup: Setup | Keep | None = KEEP,
        grace: float | None = None,
        force: bool = False,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
    ) -> int:
        """Put another module in service; no call fails that ends within the grace.

        It returns once the old generation is gone; ``await nursery.start(pool.reload, module)``
        returns as soon as the new one serves.

        Args:
            module: the new compiled module. An identical one (digest, imports, WASI and limits)
                with the setup in service changes nothing.
            setup: for the new instances; `KEEP` for the one in service, None for no setup.
            grace: seconds that leases of the old generation have; None for the pool's grace.
            force: reload an identical module, too.
            task_status: for ``nursery.start``, which returns the new generation's number.

        Returns:
            The number of the generation in service.

        Raises:
            ReloadFailed: the new module could not be started, set up or checked; the old one
                goes on serving. ``__cause__`` says why, as for `open_pool`; or it is the error
                of the check.
            TypeError, ValueError: an argument is no module, no setup or no grace.
            PoolClosed: the pool is closing or closed, or begins to close before the old
                generation is gone.
            RuntimeError: this task holds a lease of this pool, the pool belongs to another trio
                run, or this is a forked child.

        Cancelled before the new generation serves, it leaves the old one in service; after
        that, the old one's grace is over.
        """
        return await self._reload(
            module, setup=setup, grace=grace, force=force, task_status=task_status
        )

    async def _reload(  # noqa: PLR0913 - as `reload`
        self,
        module: ModuleLike,
        *,
        setup: Setup | Keep | None,
        task_status: trio.TaskStatus[int],
        grace: float | None = None,
        force: bool = False,
        admit: Callable[[], object] | None = None,
    ) -> int:
        """`reload`; ``admit`` is called in the step of the switch, before it, and can refuse."""
        self._check_run()
        driven = drive(module)
        if setup is not KEEP:
            check_setup(setup)
        if grace is not None:
            check_grace(grace)
        self._check_open()
        self._refuse_holder("reload")
        seconds = self._core.options.grace if grace is None else grace
        return await self._reloads.reload(
            driven, setup, seconds, task_status, force=force, admit=admit
        )

    @trio.lowlevel.enable_ki_protection
    async def drain(self) -> None:
        """Close with an unlimited grace: as `aclose`, but return when all leases have ended.

        A later `aclose` with a grace may still bound it. Errors and cancels are as for `aclose`.
        """
        self._check_run()
        self._refuse_holder("drain")
        await self._close(inf)

    @trio.lowlevel.enable_ki_protection
    async def aclose(self, *, grace: float | None = None) -> None:
        """Close the pool, and return when every instance is closed.

        New asks are refused, starts under way are cancelled, each lease's ``closing`` is set.
        Leases that have not ended after the grace are revoked: a call under way raises
        `LeaseRevoked`, and so does the next use by a holder in its own code.

        Args:
            grace: seconds; None for the pool's grace. Of several calls the earliest end counts.

        Raises:
            RuntimeError: this task holds a lease of this pool, the pool belongs to another trio
                run, or this is a forked child.
            TypeError, ValueError: this is no grace.

        Safe to call again. If the first call is cancelled, the grace is over; the close is
        completed, which takes a few milliseconds, and then Cancelled is raised. A later call that
        is cancelled only stops waiting.
        """
        self._check_run()
        if grace is not None:
            check_grace(grace)
        self._refuse_holder("aclose")
        seconds = self._core.options.grace if grace is None else grace
        await self._close(seconds)

    @trio.lowlevel.enable_ki_protection
    async def _close(self, grace: float) -> None:
        first = self._core.close(grace)
        try:
            await self._core.closed.wait()
        except BaseException:
            if first:
                self._core.cut_grace()
                with trio.CancelScope(shield=True):
                    await self._core.closed.wait()
            raise

    def _check_run(self) -> None:
        check_run(self._core)

    def _check_open(self) -> None:
        if self._core.state is not PoolState.OPEN:
            raise PoolClosed(f"pool {self.name!r} is {self._core.state.value}")

    def _refuse_holder(self, method: str) -> None:
        task = trio.lowlevel.current_task()
        if task in self._core.leases_by_task:
            raise RuntimeError(
                f"{method} of pool {self.name!r} by task {task.name!r}, which holds a lease of"
                " it, would wait for itself: leave the lease first, or start it in a nursery"
            )

    # --- observing ---

    @property
    def name(self) -> str:
        """What messages and logs call it."""
        return self._core.name

    @property
    def state(self) -> PoolState:
        """Open, closing or closed."""
        return self._core.state

    @property
    def generation(self) -> int:
        """The number of the generation in service, from 1."""
        return self._core.current.number

    def statistics(self) -> PoolStatistics:
        """Return the pool's counts and times of this moment."""
        return pool_statistics(self._core)

    def leases(self) -> tuple[LeaseInfo, ...]:
        """Return the leases that are held now, the oldest first."""
        return tuple(map(lease_info, self._core.leased))

    def __repr__(self) -> str:
        core = self._core
        return (
            f"<Pool {core.name!r} {core.state.value} gen={core.current.number}:"
            f" {len(core.leased)} leased, {len(core.idle)} idle, {len(core.waiters)} waiting,"
            f" size {core.size}>"
        )

    # --- the block ---

    @trio.lowlevel.enable_ki_protection
    async def _start_first(self) -> None:
        """Start ``min_size`` instances, before the block is entered.

        Raises:
            PoolUnavailable: one could not be started; the pool is closing.
        """
        core = self._core
        slots = [core.begin_start(core.current) for _ in range(core.min_size)]
        failure: tuple[Slot, Exception] | None = None
        try:
            failure = await self._maintenance.start_all(slots, check=False)
        except BaseException:
            self._give_up_start(slots)
            raise
        if failure is None:
            for slot in slots:
                core.started(slot, core.now())
            return
        self._give_up_start(slots, failure[0])
        raise PoolUnavailable(
            f"pool {self.name!r} cannot be opened, as no instance can be started:"
            f" {as_one_line(failure[1])}"
        ) from failure[1]

    def _give_up_start(self, slots: Sequence[Slot], failed: Slot | None = None) -> None:
        self._core.close(0)
        for slot in slots:
            reason = RetireReason.FAILED_START if slot is failed else RetireReason.CLOSED
            self._core.start_abandoned(slot, reason)

    @trio.lowlevel.enable_ki_protection
    async def _end(self, grace: float | None = None) -> None:
        """Close at the end of the block, whose own leases cannot be given back any more."""
        self._core.revoke_held_by(trio.lowlevel.current_task())
        seconds = self._core.options.grace if grace is None else grace
        await self._close(seconds)
        await give_back_when_none_is_open()

    def _detach(self) -> BaseException | None:
        """Drop the pool's tasks when they are gone. Return the error that one has ended with."""
        crash = self._maintenance.crash
        self._core.detach()
        del self._maintenance
        del self._reloads
        return crash


async def _run(
    lease: Lease, args: Iterable[str] | None, export: str, world: RunOptions, *, check: bool
) -> Completed:
    async with lease:
        return await lease._run(args, export, world, check=check)  # noqa: SLF001 - told by `Pool.run`


def _start_call(name: str, args: tuple[Any, ...], instance: Instance) -> Any:
    return instance.start_call(name, args)


def _start_exchange(name: str, payload: bytes | None, instance: Instance) -> Any:
    return instance.start_exchange(name, payload)


_pools: WeakSet[Pool] = WeakSet()


def _after_fork() -> None:
    """Make every pool refuse calls in a forked child, as it does in another thread.

    So a call needs no test of its own for that.
    """
    for pool in _pools:
        pool._thread = 0  # noqa: SLF001 - a class of this file


os.register_at_fork(after_in_child=_after_fork)
