"""One isolated instance of a module."""

from __future__ import annotations

import warnings
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, Literal, NoReturn, final

import trio
from trio.lowlevel import checkpoint, enable_ki_protection, in_trio_task

from wasmpool_host._engine import check_process
from wasmpool_host._errors import InstanceClosed, InstancePoisoned
from wasmpool_host._in_trio import check_trio
from wasmpool_host._scheduling.headroom import FRAMES, FRAMES_TO_GO_ON, headroom

from .bound import Bound
from .caller import Guest
from .exchange import Exchange
from .fiber import Fiber
from .making import Making
from .memory import Memory
from .pending import PENDING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from wasmpool_host._module import Module
    from wasmpool_host._scheduling.epoch_ticker import Ticker

    from .pending import Pending
    from .signature import Results

__all__ = ["Instance"]


@final
class Instance:
    """One isolated instance: a linear memory, and one call at a time.

    `Module.instantiate` makes it, in the trio run and the thread that it is then used in. Close
    it with `aclose`.
    """

    __slots__ = (
        "__weakref__", "_bound", "_closed", "_exchange", "_fiber", "_freed", "_guest",
        "_module", "_pending", "_start_steps", "_thread", "_ticker", "memory",
    )  # fmt: skip

    memory: Memory
    """The linear memory: `trio.BusyResourceError` during a call, `InstanceClosed` after the end."""

    def __init__(self, module: Module) -> None:
        """Open a store; `Module.instantiate` goes on with it."""
        self._freed = True
        self._module = module
        self._guest = Guest(module)
        self._bound: dict[str, Bound] = {}
        self._closed = False
        self._thread = get_ident()
        self._exchange: Exchange | None = None
        self._pending: Bound | None = None
        self._start_steps: Generator[Literal[False]] | None = None
        self.memory = Memory(self._region)
        self._ticker = ticker = module.engine.open_instance()
        try:
            self._fiber = Fiber(
                module.new_store, module.imported, self._guest, ticker, module.limits.call_seconds
            )
        except BaseException:
            module.engine.close_instance(ticker)
            raise
        self._freed = False

    # --- the start ---

    def _start(self) -> bool:
        """Run the module's start function, and a reactor's ``_initialize``; whether that is done.

        False: it takes longer than one slice, and `_finish_start` is to be awaited.
        """
        headroom(FRAMES_TO_GO_ON)
        steps = self._starting()
        if next(steps, True):
            return True
        self._fiber.busy = True
        self._start_steps = steps
        return False

    def _starting(self) -> Generator[Literal[False]]:
        """It yields where a crossing takes longer than a slice, as `Exchange` does."""
        fiber, module = self._fiber, self._module
        begin = partial(fiber.store.begin_instance, module.prepared)
        fiber.start_clock()
        if not fiber.start(Making(begin, module.start_label, module.start_history)):
            yield False
        fiber.store.take_instance(module.memory_export)
        if module.is_reactor:
            fiber.start_clock()
            if self._bind("_initialize").start(()) is PENDING:
                yield False

    @enable_ki_protection
    async def _finish_start(self) -> None:
        """The rest of a start."""
        steps, self._start_steps = self._start_steps, None
        assert steps is not None
        try:
            await self._fiber.finish()
            while next(steps, None) is not None:
                await self._fiber.finish()
        finally:
            self._fiber.busy = False
            self._fiber.budget_exempt_until = 0.0
            if self._freed:
                self._fiber.forget_interrupt()
            self._guest.end_output()

    # --- calls ---

    @enable_ki_protection
    async def call(self, name: str, *args: float) -> Results:
        """Call an exported function.

        Args:
            name: the export's.
            args: numbers, one for each parameter: ints for i32 and i64, signed or unsigned (a bool
                is 0 or 1); floats or ints for f32 and f64. A float is rounded to the nearest f32,
                and an int must be one that the type holds exactly.

        Returns:
            None, the one result, or a tuple of several. Integers come back signed. An f32 comes
            back as the same number, and a NaN with its sign, quiet bit and payload: an f32's 23
            bits are the upper ones of the float's 52.

        Raises:
            TypeError: the export is no function, or an argument is no number of its kind.
            ValueError: no such export, or an argument outside of its type: an integer, a finite
                float beyond the range of f32, a NaN whose payload has more bits than an f32. Like
                a TypeError it leaves the instance as it was.
            GuestTrap, GuestExit, CallTimeout, GuestMemoryError: what the guest came to. The
                instance is poisoned, as it is by the exception of a host function, which comes
                out as itself.
            MemoryError: the system has no memory for the call's stack.
            InstancePoisoned, InstanceClosed: it may not serve, or is gone.
            trio.BusyResourceError: another task's call is under way.
            RecursionError: there is too little left of the Python stack; the guest was not started.
            RuntimeError: outside of trio, in a forked child, or in another thread than its own.

        It is a checkpoint before the guest starts. A cancel after that ends the guest, within a
        millisecond or so, and poisons the instance; nothing is raised for a cancel once the
        guest has returned.
        """
        check_process()
        if not in_trio_task():
            check_trio("Instance.call")
        await checkpoint()
        result = self.start_call(name, args)
        return await self.finish() if result is PENDING else result

    @enable_ki_protection
    async def run_call(self, name: str, args: Sequence[object]) -> Results:
        """`call` within a lease, for who has just had a checkpoint.

        What the guest has printed of a line without its end is kept for the next call, or for
        `end_output`.
        """
        result = self.start_call(name, args)
        return await self.finish(ends_output=False) if result is PENDING else result

    def start_call(self, name: str, args: Sequence[object]) -> Results | Pending:
        """The first slice of `run_call`: its result, or PENDING, and `finish` is to be awaited.

        All is done in this one step, so nothing else on the loop can tell when it happened.
        """
        fiber = self._fiber
        if fiber.busy or self._closed or fiber.poisoned:
            self._refuse()
        if get_ident() != self._thread:
            self._refuse_thread()
        bound = self._bound.get(name) or self._bind(name)
        if fiber.call_seconds is not None:
            fiber.start_clock()
        result = bound.start(args)
        if result is PENDING:
            self._note_pending(bound)
        return result

    @enable_ki_protection
    async def exchange(self, name: str, payload: bytes | None = None) -> bytes:
        """Call an export of the packed ABI: bytes in, bytes out.

        The payload is copied into memory from the guest's ``malloc`` (or ``guest_malloc``), the
        export is called with its packed region, and the region that it returns is copied out
        and given to ``free`` (or ``guest_free``), if there is one: at the latest with the next
        exchange. A free that traps costs nothing but the memory.

        Args:
            name: an export of type (i64) -> i64, or () -> i64 where there is no payload.
            payload: None calls the export without an argument; empty is packed 0.

        Raises:
            LinkError: a payload for a guest without malloc.
            TypeError: the export has another type, or the payload is no bytes.
            ValueError: no such export, or a payload above ``limits.payload``.
            GuestMemoryError: the result is outside the memory or above ``limits.payload`` bytes,
                or malloc gave nothing; the instance is poisoned.
            Exception: as `call`.

        A checkpoint and a cancel are as for `call`.
        """
        check_process()
        if not in_trio_task():
            check_trio("Instance.exchange")
        await checkpoint()
        result = self.start_exchange(name, payload)
        return await self.finish() if result is PENDING else result

    @enable_ki_protection
    async def run_exchange(self, name: str, payload: bytes | None = None) -> bytes:
        """`exchange` within a lease, as `run_call` is `call`."""
        result = self.start_exchange(name, payload)
        return await self.finish(ends_output=False) if result is PENDING else result

    def start_exchange(self, name: str, payload: bytes | None = None) -> bytes | Pending:
        """The first slice of `run_exchange`, as `start_call` is that of `run_call`."""
        fiber = self._fiber
        if fiber.busy or self._closed or fiber.poisoned:
            self._refuse()
        if get_ident() != self._thread:
            self._refuse_thread()
        exchange = self._exchange
        if exchange is None:
            exchange = self._exchange = Exchange(fiber, self._module, self._bind)
        if fiber.call_seconds is not None:
            fiber.start_clock()
        result = exchange.start(name, payload)
        if result is PENDING:
            self._note_pending(None)
        return result

    def _note_pending(self, bound: Bound | None) -> None:
        """What `finish` will go on with; None for the exchange.

        Raises:
            RecursionError: now, rather than on the way to `finish`. There is no call any more.
        """
        try:
            headroom(FRAMES_TO_GO_ON)
        except RecursionError as error:
            self._fiber.abandon(error)
            if bound is None and self._exchange is not None:
                self._exchange.abandon()
            raise
        self._fiber.busy = True
        self._pending = bound

    @enable_ki_protection
    async def finish(self, *, ends_output: bool = True) -> Any:
        """Drive the call that is pending to its end; what it returns and raises is the call's.

        A call that was done at once has printed nothing: host functions run here only.
        """
        bound, exchange = self._pending, self._exchange
        try:
            if bound is not None:
                await self._fiber.finish()
                return bound.take()
            assert exchange is not None
            return await exchange.finish()
        finally:
            self._fiber.busy = False
            self._fiber.budget_exempt_until = 0.0
            self._pending = None
            if self._freed:
                self._fiber.forget_interrupt()
            if ends_output and self._guest.state:
                self._guest.end_output()

    def end_output(self) -> None:
        """Give out what the guest has printed of a line without its end: its caller is done.

        It is logged in the context of the call that printed it. `call`, `exchange` and `aclose` do
        this themselves; it is for the end of a lease, whose calls share a line.
        """
        if self._guest.state:
            self._guest.end_output()

    @property
    def poisoned(self) -> str | None:
        """Why it may not serve again, or None.

        One of ``"trap"``, ``"exit"``, ``"host-error"``, ``"bad-pointer"``, ``"cancelled"``,
        ``"timeout"`` and ``"closed"``: the first that happened. A host function that raises is a
        ``"host-error"``, also with KeyboardInterrupt or SystemExit; a Ctrl-C that stops a guest is
        ``"cancelled"``.
        """
        return self._fiber.poisoned

    @property
    def memory_size(self) -> int:
        """Bytes of linear memory, exported or not; 0 during a call, and when closed."""
        if self._fiber.busy or self._closed:
            return 0
        return self._fiber.store.total_memory()

    # --- the end ---

    @enable_ki_protection
    def interrupt(self, error: BaseException) -> None:
        """End the call under way, if there is one: ``error`` is raised in the task that made it.

        It returns at once. The guest stops within a millisecond or so, also one whose host
        function shields itself from cancellation: ``error`` then follows when that returns. A
        cancellation of the task itself wins. A second interrupt changes nothing. The instance is
        poisoned (``"cancelled"``), also where the guest happened to be done and the call returns.

        Raises:
            RuntimeError: in another thread than its own.
        """
        if get_ident() != self._thread:
            self._refuse_thread()
        self._fiber.interrupt(error)

    @enable_ki_protection
    async def aclose(self) -> None:
        """Free the instance. Safe to call again.

        A call under way ends with `InstanceClosed`. It is a checkpoint, but does not end early
        for a cancel: it takes a millisecond or so where a guest is computing.

        Raises:
            RuntimeError: outside of trio, in a forked child, or in another thread than its own.
        """
        check_process()
        check_trio("Instance.aclose")
        if get_ident() != self._thread:
            self._refuse_thread()
        self._closed = True
        self._fiber.interrupt(InstanceClosed(f"{self._module} was closed during the call"))
        self._fiber.poisoned = self._fiber.poisoned or "closed"
        await self._fiber.wait_dropped()
        try:
            with trio.CancelScope(shield=True):
                await checkpoint()
        finally:
            self._free(self._module.engine.close_instance)

    @enable_ki_protection
    def close_now(self) -> bool:
        """Free the instance at once, if no call is under way; whether that was so.

        False: only `aclose` can do it.
        """
        check_process()
        if get_ident() != self._thread:
            self._refuse_thread()
        if self._fiber.busy:
            return False
        self._free(self._module.engine.close_instance)
        return True

    def _free(self, uncount: Callable[[Ticker], None]) -> None:
        if self._freed:
            return
        self._freed = True
        self._closed = True
        self._fiber.poisoned = self._fiber.poisoned or "closed"
        self._fiber.close()
        if not self._fiber.busy:  # else a host function shields itself, and has it from `finish`
            self._fiber.forget_interrupt()
        self._break_cycles()
        uncount(self._ticker)
        self._guest.close()

    def _break_cycles(self) -> None:
        """Let go of what has this instance, so that the collector need not find it."""
        self.memory = Memory(partial(_refuse_closed, self._module))
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon()
        self._start_steps = None

    def __del__(self) -> None:
        if self._freed:
            return
        try:
            warnings.warn(
                f"{self!r} was not closed: `await instance.aclose()`",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
        finally:  # warnings may be errors
            self._free(self._module.engine.forget_instance)

    def __repr__(self) -> str:
        return f"<Instance of {self._module}: {self._condition()}>"

    def _condition(self) -> str:
        if self._closed:
            return "closed"
        if self._fiber.poisoned:
            return f"poisoned ({self._fiber.poisoned})"
        return "in a call" if self._fiber.busy else "idle"

    # --- inside ---

    def _bind(self, name: str) -> Bound:
        """Resolve an export, once."""
        found = self._bound.get(name)
        if found is not None:
            return found
        headroom(FRAMES)
        module, fiber = self._module, self._fiber
        signature = module.signature(name)
        extern = fiber.store.export(name)
        bound = Bound(fiber, extern, signature, module.history(name), module.label(name))
        self._bound[name] = bound
        return bound

    def _region(self) -> tuple[int, int]:
        if self._fiber.busy or self._closed:
            self._refuse()
        return self._fiber.store.memory_region()

    def _refuse(self) -> None:
        """Raise why it cannot be used now."""
        check_process()
        if self._closed:
            _refuse_closed(self._module)
        if self._fiber.busy:
            message = (
                f"the instance of {self._module} is in a call: one task at a time may use it."
                " Use a pool, or an instance for each task"
            )
            raise trio.BusyResourceError(message)
        message = (
            f"the instance of {self._module} is poisoned ({self._fiber.poisoned}) and may not"
            " serve again: make a new one"
        )
        raise InstancePoisoned(message)

    def _refuse_thread(self) -> None:
        message = (
            f"the instance of {self._module} belongs to another thread: an instance is used in"
            " the trio run that made it. Compile once, and instantiate in each run"
        )
        raise RuntimeError(message)


def _refuse_closed(module: Module) -> NoReturn:
    check_process()
    message = f"the instance of {module} is closed"
    raise InstanceClosed(message)
