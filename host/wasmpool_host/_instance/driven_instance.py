"""An instance that is driven step by step, by a pool for example."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any

from trio.lowlevel import enable_ki_protection

from wasmpool_host._engine import check_process

from .instance import Instance
from .pending import PENDING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from .pending import Pending
    from .program import Completed
    from .signature import Results

__all__ = ["DrivenInstance"]


class DrivenInstance(Instance):
    """An `Instance` whose owner starts it, and its calls, step by step.

    It cannot be called before `start` has ended. Where `start`, `start_call` or `start_exchange`
    return PENDING, `finish` must be awaited next, in any task of the trio run. A call that is given
    up instead is ended by `interrupt` or `Instance.aclose`. In another order these methods raise
    RuntimeError.
    """

    __slots__ = ()

    def start(self) -> Pending | None:
        """Run the module's start function, and a reactor's ``_initialize``, for a slice each.

        Returns:
            None if that is done, else PENDING.

        What it raises is how the start ended; then nothing is left of the instance. The same goes
        for `finish`, also where that is cancelled.
        """
        return self._start()

    # The same methods, as one more frame would be felt in each call.
    if TYPE_CHECKING:

        def start_call(self, name: str, args: Sequence[object]) -> Results | Pending:
            """See `Instance._start_call`, which this is."""
            ...

        def start_exchange(self, name: str, payload: bytes | None = None) -> bytes | Pending:
            """See `Instance._start_exchange`, which this is."""
            ...

    else:
        start_call = Instance._start_call  # noqa: SLF001 - the base's own
        start_exchange = Instance._start_exchange  # noqa: SLF001 - as above

    def finish(self) -> Coroutine[Any, Any, Any]:
        """Drive what is pending to its end.

        Returns:
            An awaitable, whose result is that of the call, or None for a start.

        It raises as `Instance.call` or `Module.instantiate`. A cancel ends the guest and poisons
        the instance; nothing is raised for a cancel once the guest has returned.
        """
        return self._finish()

    def call_when_back(self, callback: Callable[[], None]) -> bool:
        """Have a function called when a worker thread hands back the guest of a pending call.

        It is called once, on the trio thread, and must not raise. It is not called if `finish` is
        awaited before. Then `finish_now` may end the call, or `finish` has to.

        Returns:
            False if no worker has the guest, or its time is limited, so that it will not be called.
        """
        return self._fiber.call_when_back(callback)

    def finish_now(self) -> Any:
        """Return or raise what the pending call does, if a worker is done with it; else PENDING."""
        return self._finish_now()

    @enable_ki_protection
    async def run_call(self, name: str, args: Sequence[object]) -> Results:
        """Do `start_call` and `finish`, without ending the output: for one of several calls."""
        result = self._start_call(name, args)
        return await self._finish(ends_output=False) if result is PENDING else result

    @enable_ki_protection
    async def run_exchange(self, name: str, payload: bytes | None = None) -> bytes:
        """Do `start_exchange` and `finish`, without ending the output."""
        result = self._start_exchange(name, payload)
        return await self._finish(ends_output=False) if result is PENDING else result

    @enable_ki_protection
    async def run_program(
        self, args: Iterable[str] | None, export: str, world: Mapping[str, Any], *, check: bool
    ) -> Completed:
        """Do `Instance.run`, after a checkpoint of the caller's own; ``world`` are `RunOptions`."""
        return await self._run(args, export, world, check=check)

    def end_output(self) -> None:
        """Give out what the guest has printed of a line without its end: its caller is done.

        It is logged in the context of the call that printed it. `Instance.call`, `finish`,
        `Instance.exchange` and `Instance.aclose` do this themselves.
        """
        if self._guest.state:
            self._guest.end_output()

    @property
    def log_extra(self) -> Mapping[str, object]:
        """The ``extra`` of the guest's log records: whose it is, as its owner has set it."""
        return self._guest.log_extra

    @log_extra.setter
    def log_extra(self, extra: Mapping[str, object]) -> None:
        self._guest.log_extra = extra

    @property
    def memory_size(self) -> int:
        """Bytes of linear memory, exported or not; 0 during a call, and when closed.

        The memory of a kernel beside the guest counts, too.
        """
        fiber = self._fiber
        if fiber.busy or self._closed:
            return 0
        size = fiber.store.total_memory()
        companion = self._guest.companion
        return size if companion is None else size + companion.memory_size()

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
    def close_now(self) -> bool:
        """Free the instance at once, if no call is under way.

        Returns:
            True if it is free; False during a call, when only `Instance.aclose` can free it.

        Raises:
            RuntimeError: in a forked child, or in another thread than its own.
        """
        check_process()
        if get_ident() != self._thread:
            self._refuse_thread()
        if self._fiber.busy:
            return False
        self._free()
        return True
