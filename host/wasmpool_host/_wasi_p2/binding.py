"""From a function of the table to a host function for the components with one `Wasi`.

It finds the instance's process, has a function that may block run in a thread and one that has to
wait called again, and makes a result of WIT of what the function returns or raises. Only
`GuestExit`, `GuestTrap`, and errors that the guest did not cause end the call.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from wasmpool_host._instance.caller import PROCESS
from wasmpool_host._scheduling.blocking_calls import TooManyAbandoned
from wasmpool_host._wasi.errno import MustWait, NeedsThread, WasiError
from wasmpool_host._wasi.offload import call_offloaded
from wasmpool_host._wasi.process import open_process, open_process_offloaded
from wasmpool_host._wit_values import Err, Ok

from .failure import Failure, StreamClosed, Unsuccessful, failed
from .resource import Resource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wasmpool_host._wasi.config import Wasi
    from wasmpool_host._wasi.preview1 import WasiCaller
    from wasmpool_host._wasi.process import Process

__all__ = ["Function", "bind"]

_FAILURES = (WasiError, OSError, StreamClosed, Unsuccessful)


class Function(NamedTuple):
    """A function of an interface."""

    call: Callable[..., Any]
    """Takes the process and the arguments; plain or async."""
    failure: Failure = Failure.NONE
    """How it fails. A function that can fail returns what stands in ``ok``."""


def bind(function: Function, wasi: Wasi) -> Callable[..., Any]:
    """The host function for components with this `wasi`: ``fn(caller, *args)``, plain or async."""
    binding = _Binding(function, wasi)
    return binding.call


class _Binding:
    __slots__ = ("_failure", "_function", "_may_wait", "_wasi")

    def __init__(self, function: Function, wasi: Wasi) -> None:
        self._function = function.call
        self._failure = function.failure
        self._wasi = wasi
        self._may_wait = any(preopen.may_wait for preopen in wasi.preopens.values())

    def call(self, caller: WasiCaller, *args: Any) -> Any:  # noqa: PLR0911 - one for each outcome
        """Call it at once; what takes longer is a coroutine."""
        process: Process | None = caller.state.get(PROCESS)
        if process is None:
            if self._may_wait:
                return self._call_first(caller, args)
            process = caller.state[PROCESS] = open_process(self._wasi, caller.log_extra)
        if process.may_wait or process.dropped:
            return self._call_apart(process, args)
        try:
            value = self._function(process, *args)
        except _FAILURES as error:
            return self._failed(error)
        except NeedsThread as needed:
            return self._finish(self._attempt(process, args, device=needed.device))
        except MustWait as needed:
            return self._finish(self._attempt(process, args, needed=needed))
        if inspect.iscoroutine(value):
            return self._finish(value)
        return value if self._failure is Failure.NONE else Ok(value)

    def _failed(self, error: Exception) -> Err:
        return Err(failed(self._failure, error))

    async def _finish(self, value: Awaitable[Any]) -> Any:
        try:
            found = await value
        except _FAILURES as error:
            return self._failed(error)
        return found if self._failure is Failure.NONE else Ok(found)

    async def _call_first(self, caller: WasiCaller, args: tuple[Any, ...]) -> Any:
        """Open the process in a thread, as its directories may block."""
        try:
            process = await open_process_offloaded(self._wasi, log_extra=caller.log_extra)
        except TooManyAbandoned as error:
            return self._failed(error)
        caller.state[PROCESS] = process
        return await self._call_apart(process, args)

    async def _call_apart(self, process: Process, args: tuple[Any, ...]) -> Any:
        """Close what was dropped, and call: in a thread if a file is on a device that may block."""
        await close_dropped(process)
        devices = (each.waits_on for each in args if isinstance(each, Resource))
        device = next((device for device in devices if device is not None), None)
        return await self._finish(self._attempt(process, args, device=device))

    async def _attempt(
        self,
        process: Process,
        args: tuple[Any, ...],
        *,
        needed: MustWait | None = None,
        device: int | None = None,
    ) -> Any:
        """Call it, again after each thing that it has to wait for; in a thread if need be."""
        while True:
            if needed is not None:
                await needed.wait()
            try:
                if device is not None:
                    return await call_offloaded(process, device, self._function, process, *args)
                value = self._function(process, *args)
            except MustWait as again:
                needed = again
            except NeedsThread as thread:
                needed, device = None, thread.device
            else:
                return await value if inspect.iscoroutine(value) else value


async def close_dropped(process: Process) -> None:
    """Close in a thread what the guest has dropped, and what may block."""
    while process.dropped:
        fd = process.dropped[-1]
        descriptor = process.descriptors.get(fd)
        # After an error it is gone, as after any close, or it is closed with the instance.
        with suppress(OSError):
            await call_offloaded(process, descriptor.device or 0, process.descriptors.close, fd)
        process.dropped.remove(fd)
