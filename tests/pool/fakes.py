"""Scripted modules and instances: what a pool must cope with, without wasm.

They keep the promises of a real instance to the letter (what poisons it, what `interrupt` and
`aclose` do, one call at a time), and raise AssertionError for whatever a pool may never do: a
call on a closed instance, two closes. Such a violation is also kept in
``FakeModule.violations``, should the pool swallow it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import pytest
import trio

from wasmpool import Completed
from wasmpool_host.lowlevel import PENDING

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = [
    "KINDS",
    "Closed",
    "FakeInstance",
    "FakeModule",
    "FakeStart",
    "Kinds",
    "Poisoned",
    "SyncModule",
    "Trap",
    "new_module",
]

WAITING: Final = frozenset({"step", "sleep", "wait", "spin", "echo_1", "host", "shielded"})
"""The exports that do not end in their first slice."""

StartStep: TypeAlias = "Exception | trio.Event"


class Trap(Exception):
    """The fake guest trapped."""


class Closed(Exception):
    """A call was interrupted by the close of its instance."""


class Poisoned(Exception):
    """A call on an instance that may not serve again; a lease's own doing, not the pool's."""


class FakeMemory:
    def __init__(self, instance: FakeInstance) -> None:
        self._instance = instance
        self._data = bytearray(64)

    @property
    def size(self) -> int:
        return self._instance.memory_size

    def read(self, ptr: int, size: int) -> bytes:
        self._instance.check_usable()
        return bytes(self._data[ptr : ptr + size])

    def write(self, ptr: int, data: bytes) -> None:
        self._instance.check_usable()
        self._data[ptr : ptr + len(data)] = data


class FakeInstance:
    """Its exports are the methods named ``export_...``."""

    def __init__(self, module: FakeModule) -> None:
        self.module = module
        self.number = 0
        """From 1, in the order in which they became ready."""
        self.poisoned: str | None = None
        self.memory_size = 64
        self.closed = False
        self.closing = False
        self.interrupted: BaseException | None = None
        self.healthy = True
        self.setups = 0
        self.leases_ended = 0
        self.calls: list[str] = []
        self.memory = FakeMemory(self)
        self._scope: trio.CancelScope | None = None
        self._pending: tuple[str, tuple[Any, ...]] | None = None
        self._start: FakeStart | None = None
        self._idle = trio.Event()
        self._idle.set()

    def start(self) -> Any:
        """Of a module whose starts are one step each, all is done here, unless it waits."""
        start = self.module.next_start()
        if self.module.in_one_step:
            if isinstance(start.step, Exception):
                self.module.starting -= 1
                raise start.step
            if start.step is None:
                self.module.is_ready(self)
                return None
        self._start = start
        return PENDING

    async def _finish_start(self, start: FakeStart) -> None:
        self._start = None
        try:
            await self.module.follow(start)
        except BaseException:
            self.module.starting -= 1
            raise
        self.module.is_ready(self)

    async def run_call(self, name: str, args: tuple[Any, ...]) -> Any:
        self.check_usable()
        export = getattr(self, f"export_{name}", None)
        if export is None:
            raise ValueError(f"no export {name!r}")
        self.calls.append(name)
        self._idle = idle = trio.Event()
        result: Any = None
        try:
            with trio.CancelScope() as self._scope:
                try:
                    result = await export(*args)
                except BaseException as error:
                    self._poison(error)
                    raise
            if self.interrupted is not None:
                raise self.interrupted
            return result
        finally:
            self._scope = None
            idle.set()

    def _poison(self, error: BaseException) -> None:
        if isinstance(error, Trap):
            self.poisoned = self.poisoned or "trap"
        elif isinstance(error, trio.Cancelled):
            self.poisoned = self.poisoned or "cancelled"
        else:
            self.poisoned = self.poisoned or "host-error"

    async def run_program(self, args: Any, export: str, world: Any, *, check: bool) -> Completed:
        """Run the ``export`` as a program, with its arguments; its result is the return code."""
        del world, check
        if not isinstance(args, tuple):
            raise TypeError("args of a fake are a tuple")
        code = await self.run_call(export, args)
        self.poisoned = self.poisoned or "finished"
        return Completed(args=(), returncode=int(code))

    async def run_exchange(self, name: str, payload: bytes | None) -> bytes:
        result = await self.run_call(name, () if payload is None else (payload,))
        assert isinstance(result, bytes)
        return result

    def end_output(self) -> None:
        if self.closed or self.closing:
            self.module.violated(f"instance {self.number} was used after its close began")
        self.leases_ended += 1

    def start_call(self, name: str, args: tuple[Any, ...]) -> Any:
        """Of the exports that wait for nothing, and of unknown ones, all is done here."""
        self.check_usable()
        if name in WAITING:
            self._pending = name, args
            return PENDING
        with pytest.raises(StopIteration) as done:
            self.run_call(name, args).send(None)
        return done.value.value

    def start_exchange(self, name: str, payload: bytes | None) -> Any:
        return self.start_call(name, () if payload is None else (payload,))

    async def finish(self) -> Any:
        if self._start is not None:
            return await self._finish_start(self._start)
        assert self._pending is not None, f"instance {self.number} has nothing to finish"
        (name, args), self._pending = self._pending, None
        return await self.run_call(name, args)

    def check_usable(self) -> None:
        if self.closed or self.closing:
            self.module.violated(f"instance {self.number} was used after its close began")
        if self.poisoned is not None:
            raise Poisoned(f"instance {self.number}: {self.poisoned}")
        if self._scope is not None or self._pending is not None:
            raise trio.BusyResourceError("a call is under way")

    def interrupt(self, error: BaseException) -> None:
        if self._scope is not None and self.interrupted is None:
            self.interrupted = error
            self.poisoned = self.poisoned or "cancelled"
            self._scope.cancel()

    def close_now(self) -> bool:
        if not self.module.in_one_step:
            return False
        if self.closing or self.closed:
            self.module.violated(f"instance {self.number} was closed twice")
        if self.module.close_gate is not None or self._scope is not None or self._pending:
            return False
        self.closing = self.closed = True
        self.poisoned = self.poisoned or "closed"
        self.module.live.discard(self)
        if self.module.close_errors:
            raise self.module.close_errors.popleft()
        return True

    async def aclose(self) -> None:
        if self.closing or self.closed:
            self.module.violated(f"instance {self.number} was closed twice")
        self.closing = True
        self.interrupt(Closed(f"instance {self.number} was closed"))
        self.poisoned = self.poisoned or "closed"
        if self.module.close_gate is not None:
            await self.module.close_gate.wait()
        await trio.lowlevel.checkpoint()
        self.closed = True
        self.module.live.discard(self)
        if self.module.close_errors:
            raise self.module.close_errors.popleft()

    # --- what the guest can do ---

    async def export_echo(self, value: Any) -> Any:
        return value

    async def export_version(self) -> Hashable:
        return self.module.identity

    async def export_number(self) -> int:
        return self.number

    async def export_step(self) -> int:
        await trio.lowlevel.checkpoint()
        return self.number

    async def export_sleep(self, seconds: float) -> int:
        await trio.sleep(seconds)
        return self.number

    async def export_wait(self, event: trio.Event) -> int:
        await event.wait()
        return self.number

    async def export_spin(self) -> None:
        await trio.sleep_forever()

    async def export_trap(self) -> None:
        raise Trap("unreachable")

    async def export_bytes(self) -> bytes:
        return b"bytes"

    async def export_echo_1(self) -> int:
        await trio.lowlevel.checkpoint()
        return 1

    async def export_grow_much(self) -> None:
        self.memory_size = 1_000_000

    async def export_grow(self, size: int) -> None:
        self.memory_size = size

    async def export_host(self, function: Any) -> Any:
        """A host function: it runs in the caller's task."""
        return await function()

    async def export_shielded(self, event: trio.Event) -> None:
        """A host function that shields itself: what interrupts it follows when it returns."""
        with trio.CancelScope(shield=True):
            await event.wait()


@attrs.frozen
class FakeStart:
    """What the script says of one start; None is nothing."""

    step: StartStep | None


class FakeModule:
    """Makes instances as its script says; where that is empty, they start after one checkpoint.

    Attributes:
        script: for each of the next starts what happens: an exception is raised, an event is
            waited for.
        instances: all that became ready.
        live: those that are not closed.
        most_live: the most of ``live`` and of starts under way at one time.
        close_gate: what closes wait for.
        close_errors: what the next closes raise when they are done.
        in_one_step: True if what need not wait is done in one step: starts without a script, and
            closes. Else both are always left to a task.
    """

    in_one_step = False

    def __init__(self, identity: Hashable = 1, *, name: str = "fake") -> None:
        self.identity = identity
        self.name = name
        self.script: deque[StartStep] = deque()
        self.instances: list[FakeInstance] = []
        self.live: set[FakeInstance] = set()
        self.starting = 0
        self.starts = 0
        self.most_live = 0
        self.close_gate: trio.Event | None = None
        self.close_errors: deque[BaseException] = deque()
        self.violations: list[str] = []

    def new_instance(self) -> FakeInstance:
        return FakeInstance(self)

    def next_start(self) -> FakeStart:
        """A start begins."""
        self.starts += 1
        self.starting += 1
        self.most_live = max(self.most_live, len(self.live) + self.starting)
        return FakeStart(self.script.popleft() if self.script else None)

    async def follow(self, start: FakeStart) -> None:
        """What a task does for a start."""
        if isinstance(start.step, Exception):
            raise start.step
        if start.step is not None:
            await start.step.wait()
        if not self.in_one_step:
            await trio.lowlevel.checkpoint()

    def is_ready(self, instance: FakeInstance) -> None:
        """A start has ended well."""
        self.starting -= 1
        self.instances.append(instance)
        instance.number = len(self.instances)
        self.live.add(instance)

    def violated(self, message: str) -> None:
        self.violations.append(message)
        raise AssertionError(message)


class SyncModule(FakeModule):
    """The same, with starts and closes of one step each."""

    in_one_step = True


Kinds: TypeAlias = "tuple[type[FakeModule], type[FakeModule]]"

KINDS: Final[dict[str, Kinds]] = {
    "in tasks first": (FakeModule, SyncModule),
    "in one step first": (SyncModule, FakeModule),
}
"""In which order the modules of a test with reloads are of either kind: a parameter of the test."""


def new_module(identity: int, kinds: Kinds) -> FakeModule:
    """The kinds take turns, so that each reload goes from one to the other."""
    return kinds[(identity - 1) % 2](identity)
