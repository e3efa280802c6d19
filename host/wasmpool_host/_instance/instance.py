"""One isolated instance of a module."""

from __future__ import annotations

import warnings
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

import trio
from trio.lowlevel import checkpoint, enable_ki_protection, in_trio_task

from wasmpool_host import _capi
from wasmpool_host._engine import advance_epochs, check_faulthandler, check_process
from wasmpool_host._errors import GuestExit, InstanceClosed, InstancePoisoned
from wasmpool_host._in_trio import check_trio
from wasmpool_host._open_instances import open_instances
from wasmpool_host._scheduling.headroom import FRAMES, FRAMES_TO_GO_ON, headroom
from wasmpool_host._scheduling.run_scheduling import scheduling_of_this_run

from .caller import Guest
from .crossing import ExportCrossing, ProgramCrossing, StartCrossing
from .exchange import Exchange
from .fiber import Fiber
from .host_call import HostCall
from .memory import Memory
from .pending import PENDING
from .poison import FINISHED

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence
    from typing import Unpack

    from .bindings import Bindings
    from .exported import Globals, Memories
    from .linked_module import LinkedModule
    from .pending import Pending
    from .program import Completed, RunOptions
    from .signature import Results
    from .stepped_exchange import SteppedExchange

__all__ = ["Instance"]

_STARTED: Final = object()
"""Stands for the end of the steps of a start."""

_AT_REST: Final = (None, "closed", FINISHED)
"""What an instance may be poisoned by that ends between two calls."""


class Instance:
    """One isolated instance: a linear memory, and one call at a time.

    `Module.instantiate` makes it, in the trio run and the thread that it is then used in. Close
    it with `aclose`.
    """

    # Invariants:
    # - `_fiber.busy` holds while a start or a call is pending: from the return of PENDING until
    #   `_finish` has ended
    # - while something is pending and `_finish` has not begun, it is in `_start_steps`, or is the
    #   call of the export in `_pending`, or else `_exchange` is pending
    # - `_freed` implies `_closed`, except in `__init__`

    __slots__ = (
        "__weakref__", "_bindings", "_closed", "_code", "_crossings", "_exchange", "_fiber",
        "_freed", "_guest", "_module", "_pending", "_start_steps", "_thread", "_ticker",
    )  # fmt: skip

    _new_host_call: ClassVar[type[HostCall]] = HostCall

    def __init__(self, module: LinkedModule) -> None:
        """Open a store; `Module.instantiate` makes instances."""
        self._freed = True
        check_process()
        check_faulthandler()
        self._module = module
        self._guest = Guest(module)
        self._crossings: dict[str, ExportCrossing] = {}
        self._closed = False
        self._thread = get_ident()
        self._exchange: SteppedExchange | None = None
        self._pending: ExportCrossing | None = None
        self._start_steps: Generator[None] | None = None
        pooled = module.pooled
        engine = None if pooled is None else pooled.engine
        scheduling = scheduling_of_this_run(advance_epochs)
        self._ticker = scheduling.ticker
        has_slot = open_instances.open(module.maps, engine)
        self._code = code = pooled if has_slot and pooled is not None else module.ordinary
        try:
            bindings: Bindings[ExportCrossing, HostCall] = module.take_bindings()
            self._bindings = bindings
            self._fiber = Fiber(
                module, code.engine, self._guest, scheduling, bindings.arena,
                host_call=bindings.host_call, new_host_call=self._new_host_call,
            )  # fmt: skip
            if module.open_companion is not None:
                self._guest.companion = module.open_companion(code.engine, self._fiber.store)
        except BaseException:
            open_instances.close(module.maps, code.engine)
            raise
        self._ticker.open()
        self._freed = False

    # --- calls ---

    @enable_ki_protection
    async def call(self, name: str, *args: float | bytes) -> Results:
        """Call an exported function.

        Args:
            name: the export's.
            args: one for each parameter: ints for i32 and i64, signed or unsigned (a bool is 0 or
                1); floats or ints for f32 and f64. A float is rounded to the nearest f32, and an
                int must be one that the type holds exactly. 16 bytes for v128, as in memory.

        Returns:
            None, the one result, or a tuple of several. Integers come back signed. An f32 comes
            back as the same number, and a NaN with its sign, quiet bit and payload: an f32's 23
            bits are the upper ones of the float's 52.

        Raises:
            TypeError: the export is no function, or an argument is no number of its kind.
            ValueError: no such export, or an argument outside of its type: an integer, a finite
                float beyond the range of f32, a NaN whose payload has more bits than an f32. Like
                a TypeError it leaves the instance as it was.
            GuestTrap, GuestExit, CallTimeout, GuestMemoryError: how the guest ended. The instance
                is poisoned, as it is by the exception of a host function, which comes out as
                itself.
            MemoryError: the system has no memory for the call's stack.
            InstancePoisoned, InstanceClosed: it may not serve again, or is closed.
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
        result = self._start_call(name, args)
        return await self._finish() if result is PENDING else result

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
                or malloc returned 0; the instance is poisoned.
            Exception: as `call`.

        A checkpoint and a cancel are as for `call`.
        """
        check_process()
        if not in_trio_task():
            check_trio("Instance.exchange")
        await checkpoint()
        result = self._start_exchange(name, payload)
        return await self._finish() if result is PENDING else result

    @enable_ki_protection
    async def run(
        self,
        args: Iterable[str] | None = None,
        *,
        export: str = "_start",
        check: bool = False,
        **world: Unpack[RunOptions],
    ) -> Completed:
        """Run the module as a program, in a world of its own; the instance runs once.

        Args:
            args: all arguments, the program's own name first. None: the module's ``wasi.args``, or
                its name.
            export: what is called, of type () -> (), or () -> i32 for a return code.
            check: raise for a return code other than 0.
            world: see `RunOptions`.

        Returns:
            How it ended, and what it wrote.

        Raises:
            GuestExit: ``check`` is set, and the return code is not 0.
            GuestTrap: it trapped. This and every other `GuestError` carry ``stdout`` and ``stderr``
                as far as they were captured, and a note with the last lines of stderr.
            TypeError, ValueError: naming the argument that cannot be given to a run.
            OSError: a preopened directory is gone.
            Exception: as `call`.

        A checkpoint and a cancel are as for `call`. Afterwards the instance is poisoned
        (``"finished"``), however the run ended; nothing of the run is left but what is returned.
        """
        check_process()
        if not in_trio_task():
            check_trio("Instance.run")
        await checkpoint()
        return await self._run(args, export, world, check=check)

    @property
    def memory(self) -> Memory:
        """The linear memory; it raises `trio.BusyResourceError` in a call, or `InstanceClosed`."""
        return Memory(self._region, bits=self._module.memory_bits)

    @property
    def globals(self) -> Globals:
        """The exported globals, by name: their values, of which the mutable ones can be set."""
        from .exported import Globals  # noqa: PLC0415 - `import wasmpool` is faster without it

        return Globals(self._module, self._fiber.store, self._check_started)

    @property
    def memories(self) -> Memories:
        """The exported memories, by name; each is as `memory`, which is the one of that name."""
        from .exported import Memories  # noqa: PLC0415 - as in `globals`

        return Memories(self._module, self._fiber.store, self._check_started)

    @property
    def poisoned(self) -> str | None:
        """Why it may not serve again, or None.

        One of ``"trap"``, ``"exit"``, ``"host-error"``, ``"bad-pointer"``, ``"cancelled"``,
        ``"timeout"``, ``"finished"``, ``"memory"`` and ``"closed"``: the first that happened. A
        host function that raises is a ``"host-error"``, also with KeyboardInterrupt or SystemExit;
        a Ctrl-C that stops a guest is ``"cancelled"``. A program that has run is ``"finished"``. A
        component in a pool that has too many resources nobody can drop any more is ``"memory"``.
        """
        return self._fiber.poisoned

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
            self._free()

    def __repr__(self) -> str:
        return f"<Instance of {self._module}: {self._condition()}>"

    def _condition(self) -> str:
        if self._closed:
            return "closed"
        if self._fiber.poisoned:
            return f"poisoned ({self._fiber.poisoned})"
        return "in a call" if self._fiber.busy else "idle"

    # --- one step now, the rest later: what `DrivenInstance` shows ---

    def _start(self) -> Pending | None:
        """Start the instance; return None, or PENDING where `_finish` has to do the rest."""
        if self._fiber.busy or self._closed:
            self._refuse()
        if get_ident() != self._thread:
            self._refuse_thread()
        if self._fiber.store.started:
            raise RuntimeError(f"the instance of {self._module} has been started before")
        steps = self._starting()
        try:
            if next(steps, _STARTED) is _STARTED:
                return None
            headroom(FRAMES_TO_GO_ON)  # now, rather than on the way to `_finish`
        except BaseException:
            self._free()
            raise
        self._fiber.busy = True
        self._start_steps = steps
        return PENDING

    def _starting(self) -> Generator[None]:
        """Yield where a crossing is pending, as `Exchange` does."""
        fiber, module = self._fiber, self._module
        if fiber.call_seconds is not None:
            fiber.start_clock()
        companion, prepared = self._guest.companion, self._code.prepared
        if companion is None:
            assert isinstance(prepared, _capi.Prepared)
            begin = fiber.store.begin_instance(prepared)
            if not fiber.start(StartCrossing(begin, module.start_label, module.start_history)):
                yield
        else:
            assert isinstance(prepared, _capi.Linkable)
            for crossing in companion.start(fiber, module, prepared):
                fiber.start_clock()
                if not fiber.start(crossing):
                    yield
        fiber.store.take_instance()
        if module.initialize is not None:
            fiber.start_clock()
            if self._resolve(module.initialize).start(()) is PENDING:
                yield

    def _start_call(self, name: str, args: Sequence[object]) -> Results | Pending:
        """Run the first slice of a call, in one step: no other task can tell when it happened.

        Returns:
            The call's result, or PENDING.

        It raises as `Instance.call`, but for what only a host function raises: none is run here.
        """
        fiber = self._fiber
        if fiber.busy or self._closed or fiber.poisoned:
            self._refuse()
        if get_ident() != self._thread:
            self._refuse_thread()
        crossing = self._crossings.get(name) or self._resolve(name)
        if fiber.call_seconds is not None:
            fiber.start_clock()
        result = crossing.start(args)
        if result is PENDING:
            self._note_pending(crossing)
        return result

    def _start_exchange(self, name: str, payload: bytes | None = None) -> bytes | Pending:
        """Run the first slices of an exchange, as `start_call` does of a call."""
        fiber = self._fiber
        if fiber.busy or self._closed or fiber.poisoned:
            self._refuse()
        if get_ident() != self._thread:
            self._refuse_thread()
        exchange = self._exchange
        if exchange is None:
            exchange = self._exchange = self._new_exchange()
        if fiber.call_seconds is not None:
            fiber.start_clock()
        result = exchange.start(name, payload)
        if result is PENDING:
            self._note_pending(None)
        return result

    def _new_exchange(self) -> SteppedExchange:
        companion = self._guest.companion
        if companion is None:
            return Exchange(self._fiber, self._module, self._code.engine, self._resolve)
        return companion.new_exchange(self._fiber, self._module, self._resolve)

    @enable_ki_protection
    async def _run(
        self, args: Iterable[str] | None, export: str, world: Mapping[str, Any], *, check: bool
    ) -> Completed:
        """Do `run`, after its checkpoint."""
        from .program import run  # noqa: PLC0415 - `import wasmpool` is faster without it

        export = self._check_program(export)
        made = self._module.new_world(args=args, **world)
        made.log_extra = self._guest.log_extra

        async def call() -> Results:
            result = self._start_call(export, ())
            return await self._finish() if result is PENDING else result

        try:
            completed = await run(made, self._guest.enter_world, call)
        finally:
            if self._fiber.poisoned in (None, "exit"):
                self._fiber.poisoned = FINISHED
            self._guest.leave_world()
        if check:
            completed.check_returncode()
        return completed

    def _check_program(self, export: str) -> str:
        """Return the name of what is called; raise if it cannot be run as a program now."""
        if self._fiber.busy or self._closed or self._fiber.poisoned:
            self._refuse()
        if get_ident() != self._thread:
            self._refuse_thread()
        return self._program(export)

    def _program(self, export: str) -> str:
        """Return the export's name; raise if it is no program."""
        type_ = self._module.signature(export).type
        if type_.params or type_.results not in ((), ("i32",)):
            message = (
                f"{self._module}: export {export!r} is {type_}: a program is () -> (), or"
                " () -> (i32) for a return code"
            )
            raise TypeError(message)
        return export

    def _note_pending(self, crossing: ExportCrossing | None) -> None:
        """Keep what `_finish` will drive to its end; None for the exchange.

        Raises:
            RecursionError: now, rather than on the way to `_finish`. The call has ended then.
        """
        try:
            headroom(FRAMES_TO_GO_ON)
        except RecursionError as error:
            self._fiber.abandon(error)
            if crossing is None and self._exchange is not None:
                self._exchange.abandon()
            raise
        self._fiber.busy = True
        self._pending = crossing

    @enable_ki_protection
    async def _finish(self, *, ends_output: bool = True) -> Any:
        """Drive what is pending to its end, and return or raise what the whole of it does.

        ``ends_output``: False keeps what the guest has printed of a line without its end, for the
        next call. A call that was done in one step has printed nothing: host functions run here
        only.
        """
        if self._start_steps is not None:
            await self._finish_start(self._start_steps)
            return None
        crossing, self._pending = self._pending, None
        exchange = self._exchange
        if crossing is None and (exchange is None or not exchange.is_pending):
            self._refuse_finish()
        try:
            if crossing is not None:
                try:
                    await self._fiber.finish()
                except GuestExit as error:
                    if error.status or not crossing.is_program:
                        raise
                if crossing.is_program:
                    self._fiber.poisoned = FINISHED
                return crossing.take()
            assert exchange is not None  # checked above
            return await exchange.finish()
        finally:
            self._end_pending()
            if ends_output and self._guest.state:
                self._guest.end_output()

    @enable_ki_protection
    def _finish_now(self) -> Any:
        """Do `_finish` if a worker is done with the call, and return PENDING otherwise.

        Such a call has run no host function, so it has printed nothing.
        """
        crossing, exchange = self._pending, self._exchange
        if self._start_steps is not None or (crossing is not None and crossing.is_program):
            return PENDING
        try:
            if crossing is not None:
                result = crossing.take() if self._fiber.finish_now() else PENDING
            else:
                assert exchange is not None  # as it is pending
                result = exchange.finish_now()
        except BaseException:
            self._pending = None
            self._end_pending()
            raise
        if result is not PENDING:
            self._pending = None
            self._end_pending()
        return result

    async def _finish_start(self, steps: Generator[None]) -> None:
        self._start_steps = None
        try:
            try:
                await self._fiber.finish()
                for _ in steps:
                    await self._fiber.finish()
            finally:
                self._end_pending()
                self._guest.end_output()
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.aclose()
            raise

    def _end_pending(self) -> None:
        self._fiber.busy = False
        self._fiber.budget_exempt_until = 0.0
        if self._freed:
            self._fiber.forget_interrupt()

    # --- the end ---

    def _free(self, *, forgotten: bool = False) -> None:
        """Free the store. ``forgotten``: by a finalizer, which may run anywhere."""
        if self._freed:
            return
        self._freed = True
        self._closed = True
        poisoned = self._fiber.poisoned
        self._fiber.poisoned = poisoned or "closed"
        self._fiber.close()
        if poisoned in _AT_REST and not (self._fiber.busy or forgotten):
            self._leave_bindings()
        if not self._fiber.busy:  # else a host function shields itself: `_finish` raises it later
            self._fiber.forget_interrupt()
        self._break_cycles()
        if forgotten:
            open_instances.forget(self._ticker, self._module.maps, self._code.engine)
        else:
            open_instances.close(self._module.maps, self._code.engine)
            self._ticker.close()
        if self._guest.state:
            self._guest.close()

    def _leave_bindings(self) -> None:
        """Leave the bindings to the next instance, as no task will come back to a call of this."""
        for crossing in self._crossings.values():
            crossing.release()
        bindings = self._bindings
        bindings.crossings.update(self._crossings)
        bindings.host_call = self._fiber.next_call
        self._crossings.clear()
        self._module.leave_bindings(bindings)

    def _break_cycles(self) -> None:
        """Drop what refers back to this instance, so that no garbage collection is needed."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon()
        self._start_steps = None
        self._guest.companion = None

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
            self._free(forgotten=True)

    # --- inside ---

    def _resolve(self, name: str) -> ExportCrossing:
        """Make an export ready to be called, once."""
        found = self._crossings.get(name)
        if found is not None:
            return found
        fiber = self._fiber
        if not fiber.store.started:
            self._refuse_unstarted()
        bindings = self._bindings
        crossing = bindings.crossings.pop(name, None)
        if crossing is None:
            headroom(FRAMES)
            crossing = self._new_crossing(name, bindings.arena)
        crossing.bind(fiber)
        self._crossings[name] = crossing
        return crossing

    def _new_crossing(self, name: str, arena: _capi.Arena) -> ExportCrossing:
        """Make an export ready to be bound to instances of this module."""
        module = self._module
        signature = module.signature(name)
        kind = ProgramCrossing if name == "_start" else ExportCrossing
        return kind(arena, arena.place(name), signature, module.history(name), module.label(name))

    def _region(self) -> tuple[int, int]:
        if self._fiber.busy or self._closed:
            self._refuse()
        return self._fiber.store.memory_region()

    def _check_started(self) -> None:
        """Raise if its exports cannot be used now."""
        if self._fiber.busy or self._closed:
            self._refuse()
        if not self._fiber.store.started:
            self._refuse_unstarted()

    def _refuse_unstarted(self) -> NoReturn:
        """Raise, where the C API would abort the process."""
        raise RuntimeError(f"the instance of {self._module} has not been started")

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

    def _refuse_finish(self) -> NoReturn:
        if self._closed:
            _refuse_closed(self._module)
        raise RuntimeError(f"the instance of {self._module} has nothing pending to be finished")

    def _refuse_thread(self) -> None:
        message = (
            f"the instance of {self._module} belongs to another thread: an instance is used in"
            " the trio run that made it. Compile once, and instantiate in each run"
        )
        raise RuntimeError(message)


def _refuse_closed(module: LinkedModule) -> NoReturn:
    check_process()
    message = f"the instance of {module} is closed"
    raise InstanceClosed(message)
