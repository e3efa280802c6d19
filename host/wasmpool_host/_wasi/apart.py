"""WASI functions that may wait for a file system, each in a thread of its own.

Such are all on the files of a file system that is not local (`mounts`), and ``fd_sync`` on any.
The function is the same one, run as a whole. What it must not do is outlive what it uses, for its
task may be cancelled while it waits, and the guest be gone by then:

- The guest's memory is read and written on the trio thread: each access is sent there, and refused
  once the task is gone. (That costs some 50 us an access, beside a network that is little.)
- The guest's descriptors are closed by whichever comes last, the thread or the end of the instance;
  a number that is used again would be another guest's file.

Each device has places of its own: a server that is silent holds up nobody on another.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, TypeVarTuple, final

import trio

from wasmpool_host._errors import GuestMemoryError
from wasmpool_host._scheduling.blocking_calls import BlockingCalls

if TYPE_CHECKING:
    from collections.abc import Callable

    import outcome

    from .memory import Memory
    from .process import Process

__all__ = ["calls_of", "run_apart", "run_later"]

Ts = TypeVarTuple("Ts")

_log = logging.getLogger("wasmpool.blocking")

_calls: dict[int, BlockingCalls] = {}
"""By device: as many as there are devices with a preopened directory."""


def calls_of(device: int) -> BlockingCalls:
    """The calls on files of one device."""
    name = f"file operations on device {os.major(device)}:{os.minor(device)}"
    return _calls.setdefault(device, BlockingCalls(name))


async def run_apart(
    process: Process,
    device: int,
    function: Callable[..., None],
    memory: Memory,
    args: tuple[int, ...],
) -> None:
    """Run a WASI function in a thread.

    Raises:
        TooManyAbandoned: (``EAGAIN``) too many on this device were cancelled and still wait.
        Exception: what the function raises.

    A cancel returns at once.
    """
    relay = _Relay(memory)
    try:
        await calls_of(device).run(_run, process, function, relay, args)
    finally:
        relay.cut()


def _run(
    process: Process, function: Callable[..., None], relay: _Relay, args: tuple[int, ...]
) -> None:
    """In the thread."""
    if process.begin_apart():
        try:
            function(process, relay, *args)
        finally:
            process.end_apart()


def run_later(fn: Callable[[*Ts], None], *args: *Ts) -> None:
    """Call what closes files in a thread that nobody waits for: closing may wait for a server.

    There is one for each guest that had such a file open, so their number needs no bound.
    """
    trio.lowlevel.start_thread_soon(lambda: fn(*args), _report)


def _report(result: outcome.Outcome[None]) -> None:
    """In the thread."""
    try:
        result.unwrap()
    except OSError as error:
        _log.warning("a guest's files could not be closed: %s", error)


@final
class _Relay:
    """A guest's memory for a thread, which only the trio thread touches."""

    __slots__ = ("_memory",)

    def __init__(self, memory: Memory) -> None:
        self._memory: Memory | None = memory

    def cut(self) -> None:
        """No more of it, for ever."""
        self._memory = None

    @property
    def size(self) -> int:
        size: int = self._on_loop(lambda memory: memory.size)
        return size

    def read(self, ptr: int, size: int, /) -> bytes:
        data: bytes = self._on_loop(lambda memory: memory.read(ptr, size))
        return data

    def write(self, ptr: int, data: bytes, /) -> None:
        self._on_loop(lambda memory: memory.write(ptr, data))

    def _on_loop(self, use: Callable[[Memory], Any]) -> Any:
        return trio.from_thread.run_sync(self._use, use)

    def _use(self, use: Callable[[Memory], Any]) -> Any:
        if self._memory is None:
            raise GuestMemoryError("the guest is gone")
        return use(self._memory)
