"""The pool against everything that can happen to it, in every order hypothesis can think of.

Each step is one thing that an application, a guest or time may do. After each, the pool's
invariants are looked at, and what the tasks have seen is compared with what the pool has counted.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from tests.pool.fakes import KINDS, FakeInstance, FakeModule, Poisoned, Trap, new_module
from tests.pool.pumped import PumpedRun
from tests.pool.seams import (
    check_invariants,
    idle_slots,
    last_leased,
    next_idle,
    waiting_tasks,
)

from wasmpool._errors import (
    LeaseDeadlock,
    LeaseRevoked,
    PoolClosed,
    PoolSaturated,
    PoolTimeout,
    PoolUnavailable,
    ReloadFailed,
)
from wasmpool._pool import pool as pool_module
from wasmpool._pool.pool import Pool, open_pool

if TYPE_CHECKING:
    from types import TracebackType

    from tests.pool.fakes import Kinds

    from wasmpool._pool.lease import Lease
    from wasmpool._pool.statistics import LeaseInfo

ANSWERS: dict[type[BaseException], str] = {
    PoolClosed: "refused_closed",
    PoolSaturated: "saturated",
    PoolTimeout: "timed_out",
    PoolUnavailable: "unavailable",
    LeaseDeadlock: "deadlocked",
    trio.WouldBlock: "would_block",
    trio.Cancelled: "cancelled",
}
OPTIONS = st.fixed_dictionaries(
    {
        "size": st.integers(1, 4),
        "max_waiting": st.sampled_from([None, None, 0, 2]),
        "max_wait": st.sampled_from([None, None, 0, 1.0]),
        "max_uses": st.sampled_from([None, None, 1, 3]),
        "max_age": st.sampled_from([None, None, 4.0]),
        "max_idle": st.sampled_from([None, 2.0]),
        "max_memory": st.sampled_from([None, 100]),
        "grace": st.sampled_from([0, 3.0]),
        "max_generations": st.sampled_from([2, 3]),
        "queue_on_close": st.sampled_from(["fail", "serve"]),
        "leak_after": st.sampled_from([None, 2.0]),
    }
)

ORDERS = st.sampled_from(
    ["trap", "spin", "echo_1", "grow_much", "discard", "ask again", "misplaced close"]
)
PICK = st.integers(0, 3)


def pick(choices: list[Any], which: int) -> Any:
    return choices[which % len(choices)]


class Refused(Exception):
    """An ask that had one of the answers that are no lease."""


class Asking:
    """A lease whose answer is counted."""

    def __init__(self, world: PoolMachine, *, nowait: bool = False) -> None:
        self.world = world
        self.lease = world.pool.lease_nowait() if nowait else world.pool.lease()

    async def __aenter__(self) -> Lease:
        try:
            lease = await self.lease.__aenter__()
        except tuple(ANSWERS) as answer:
            self.world.answers[ANSWERS[type(answer)]] += 1
            if isinstance(answer, trio.Cancelled):
                raise
            raise Refused from answer
        except LeaseRevoked:  # granted, and taken away again before the task had its turn
            self.world.answers["granted"] += 1
            raise Refused from None
        self.world.answers["granted"] += 1
        return lease

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.lease.__aexit__(exc_type, exc, traceback)


class Asker:
    """A task that asks for a lease, and does with it what it is told."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.scope = trio.CancelScope()
        self.state = "asking"
        self.orders, self._receive = trio.open_memory_channel[str](1000)

    async def run(self, world: PoolMachine, *, nowait: bool) -> None:
        try:
            with self.scope:
                async with Asking(world, nowait=nowait) as lease:
                    self.state = "holding"
                    async for order in self._receive:
                        await self._obey(order, lease, world)
        except Refused:
            pass
        self.state = "done"

    async def _obey(self, order: str, lease: Lease, world: PoolMachine) -> None:
        try:
            if order == "ask again":
                async with Asking(world):
                    await trio.lowlevel.checkpoint()
            elif order == "discard":
                lease.discard()
            elif order == "misplaced close":
                await self._close_while_holding(lease, world)
            else:
                await lease.call(order)
        except (Trap, Poisoned, LeaseRevoked, Refused):
            pass

    @staticmethod
    async def _close_while_holding(lease: Lease, world: PoolMachine) -> None:
        lease.memory  # noqa: B018 - raises, if it was revoked
        try:
            await world.pool.aclose()
        except RuntimeError:
            return
        raise AssertionError("a holder closed the pool")

    def __repr__(self) -> str:
        return f"<asker {self.number}, {self.state}>"


class Watch:
    """An instrument: sees each grant at the very moment that it happens."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.arrivals: dict[trio.lowlevel.Task, int] = {}
        self.count = 0

    def waiting(self, pool: Pool, waiting: int) -> None:
        latest = list(waiting_tasks(pool))[-1]
        self.count += 1
        self.arrivals[latest] = self.count

    def lease_granted(self, pool: Pool, lease: LeaseInfo, waited: float) -> None:
        if lease.generation != pool.generation:
            self.wrong.append(f"{lease} was granted in generation {pool.generation}")
        slot = last_leased(pool)
        instance: Any = slot.instance
        if instance.poisoned or instance.closing:
            self.wrong.append(f"{lease} was granted, although of no use")
        task = slot.holder
        assert task is not None
        arrival = self.arrivals.pop(task, self.count + 1)
        if any(self.arrivals[other] < arrival for other in waiting_tasks(pool)):
            self.wrong.append(f"{lease} was granted to one who came later than others in line")


class Task:
    """A reload or a close under way."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.done = False

    async def run(self, function: Any, *expected: type[BaseException]) -> None:
        try:
            with self.scope:
                await function()
        except expected:
            pass
        self.done = True


class PoolMachine(RuleBasedStateMachine):
    """One pool's life."""

    def __init__(self) -> None:
        super().__init__()
        self.run = PumpedRun()
        self.pool: Pool
        self.kinds: Kinds
        self.modules: list[FakeModule] = []
        self.answers: Counter[str] = Counter()
        self.everybody: list[Asker] = []
        self.tasks: list[Task] = []
        self.watch = Watch()
        self.leave = trio.Event()
        self.left = False
        self.healthy = True
        self.setup_works = True
        self.spoils = False
        self.gates: list[trio.Event] = []

    # --- what the pool is made with ---

    def module(self) -> FakeModule:
        self.modules.append(new_module(len(self.modules) + 1, self.kinds))
        return self.modules[-1]

    async def setup(self, instance: FakeInstance) -> None:
        await trio.lowlevel.checkpoint()
        if not self.setup_works:
            raise ValueError("setup does not work")
        self.spoil(instance)

    def check(self, instance: FakeInstance) -> bool:
        self.spoil(instance)
        return self.healthy

    def spoil(self, instance: FakeInstance) -> None:
        if self.spoils:
            instance.poisoned = "trap"

    @initialize(
        options=OPTIONS,
        data=st.data(),
        checked=st.booleans(),
        order=st.sampled_from(sorted(KINDS)),
    )
    def open(self, options: dict[str, Any], data: st.DataObject, checked: bool, order: str) -> None:
        self.kinds = KINDS[order]
        options["min_size"] = data.draw(st.integers(0, options["size"]), label="min_size")
        check = self.check if checked else None
        opened = open_pool(
            self.module(), **options, setup=self.setup, check=check, instruments=[self.watch]
        )

        async def block() -> None:
            with patch.object(
                pool_module, "Random", partial(Random, 0)
            ):  # a failure is found again
                async with opened as self.pool:
                    await self.leave.wait()
            self.left = True

        self.start(block)

    def start(self, function: Any) -> None:
        async def begin() -> None:
            self.run.nursery.start_soon(function)

        self.run.step(begin)

    def do(self, function: Any) -> None:
        async def step() -> None:
            function()

        self.run.step(step)

    # --- asking, holding, giving back ---

    def alive(self, state: str | None = None) -> list[Asker]:
        return [a for a in self.everybody if a.state == state or (not state and a.state != "done")]

    @rule(count=st.integers(1, 3))
    def ask(self, count: int) -> None:
        for _ in range(count):
            self.everybody.append(Asker(len(self.everybody)))
            self.start(partial(self.everybody[-1].run, self, nowait=False))

    @rule()
    def ask_nowait(self) -> None:
        self.everybody.append(Asker(len(self.everybody)))
        self.start(partial(self.everybody[-1].run, self, nowait=True))

    @precondition(lambda self: self.alive())
    @rule(which=PICK)
    def cancel(self, which: int) -> None:
        """A task in line, or one that holds a lease, in a call or not, is cancelled."""
        self.do(pick(self.alive(), which).scope.cancel)

    @precondition(lambda self: self.alive("holding"))
    @rule(which=PICK)
    def give_back(self, which: int) -> None:
        self.do(pick(self.alive("holding"), which).orders.close)

    @precondition(lambda self: self.alive("holding"))
    @rule(which=PICK, order=ORDERS)
    def tell(self, which: int, order: str) -> None:
        asker = pick(self.alive("holding"), which)
        if not asker.orders._closed:
            self.do(partial(asker.orders.send_nowait, order))

    @precondition(lambda self: self.alive("holding") and self.alive("asking"))
    @rule(which=PICK, first=st.booleans())
    def give_back_and_cancel_a_waiter(self, which: int, first: bool) -> None:
        """The waiter that is handed the instance is cancelled at the very same moment."""
        holder = pick(self.alive("holding"), which)
        waiter = self.alive("asking")[0]

        def both() -> None:
            if first:
                waiter.scope.cancel()
            holder.orders.close()
            waiter.scope.cancel()

        self.do(both)

    # --- what goes wrong with instances ---

    @rule(works=st.booleans(), healthy=st.booleans(), spoils=st.booleans())
    def change_guests(self, works: bool, healthy: bool, spoils: bool) -> None:
        """``spoils``: setups and checks end well, and leave instances that cannot serve."""
        self.setup_works = works
        self.healthy = healthy
        self.spoils = spoils

    @precondition(lambda self: bool(idle_slots(self.pool)))
    @rule(word=st.sampled_from(["cancelled", "closed"]))
    def spoil_an_idle_instance_and_ask(self, word: str) -> None:
        """Other code has kept it; the pool finds out when it would be granted."""
        self.everybody.append(Asker(len(self.everybody)))

        async def begin() -> None:
            if idle_slots(self.pool):
                next_idle(self.pool).poisoned = word
            self.run.nursery.start_soon(partial(self.everybody[-1].run, self, nowait=True))

        self.run.step(begin)

    @rule(held_up=st.booleans())
    def script_next_start(self, held_up: bool) -> None:
        self.modules[-1].script.append(self.gate() if held_up else ValueError("no start"))

    @rule()
    def hold_up_closes(self) -> None:
        gate = self.gate()
        for module in self.modules:
            if module.close_gate is None:
                module.close_gate = gate

    def gate(self) -> trio.Event:
        self.gates.append(trio.Event())
        return self.gates[-1]

    @precondition(lambda self: self.gates)
    @rule()
    def let_go(self) -> None:
        self.do(self.open_gates)

    def open_gates(self) -> None:
        for gate in self.gates:
            gate.set()
        self.gates.clear()
        for module in self.modules:
            module.close_gate = None

    # --- bounds, reloads, closes, time ---

    @rule(size=st.integers(1, 5), min_size=st.sampled_from([None, 0, 1]))
    def resize(self, size: int, min_size: int | None) -> None:
        self.begin(partial(self.pool.resize, size, min_size), PoolClosed)

    @rule(good=st.booleans(), grace=st.sampled_from([None, 0, 2.0]))
    def reload(self, good: bool, grace: float | None) -> None:
        module = self.module()
        if not good:
            module.script.append(ValueError("bad module"))
        self.begin(partial(self.pool.reload, module, grace=grace), PoolClosed, ReloadFailed)

    @precondition(lambda self: len(self.everybody) > 5)  # else most pools would close at once
    @rule(grace=st.sampled_from([None, 0, 2.0, inf]))
    def close(self, grace: float | None) -> None:
        self.begin(partial(self.pool.aclose, grace=grace))

    def begin(self, function: Any, *expected: type[BaseException]) -> None:
        self.tasks.append(Task())
        self.start(partial(self.tasks[-1].run, function, *expected))

    @precondition(lambda self: any(not task.done for task in self.tasks))
    @rule(which=PICK)
    def cancel_task(self, which: int) -> None:
        """A reload or a close is cancelled."""
        self.do(pick([task for task in self.tasks if not task.done], which).scope.cancel)

    @rule(seconds=st.sampled_from([0.04, 0.9, 1.5, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.run.jump(seconds)

    # --- what must be true ---

    @invariant()
    def invariants_hold(self) -> None:
        if not hasattr(self, "pool"):
            return
        check_invariants(self.pool)
        assert not self.watch.wrong
        for module in self.modules:
            assert not module.violations
        statistics = self.pool.statistics()
        for answer in ("granted", *ANSWERS.values()):
            assert self.answers[answer] == getattr(statistics, answer), answer
        live = sum(len(module.live) + module.starting for module in self.modules)
        assert live <= statistics.started - statistics.closed

    def teardown(self) -> None:
        """Whatever has happened, leaving the block ends everything."""
        try:
            if hasattr(self, "pool"):
                self.leave_the_block()
        finally:
            self.run.end(self.open_gates)

    def leave_the_block(self) -> None:
        self.let_go()
        self.do(self.leave.set)
        self.run.jump(40)  # above each grace
        for asker in self.everybody:
            self.do(asker.scope.cancel)
        assert self.left, f"the block did not end: {self.pool!r}"
        assert self.pool.state == "closed"
        self.invariants_hold()
        for module in self.modules:
            assert not module.live
            assert not module.starting


def in_examples(number: int) -> settings:
    return settings(
        max_examples=number,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


class LongPoolMachine(PoolMachine):
    """The same, with more examples."""


TestPool = PoolMachine.TestCase
TestPool.settings = in_examples(100)

TestPoolForLong = pytest.mark.slow(LongPoolMachine.TestCase)
TestPoolForLong.settings = in_examples(200)
