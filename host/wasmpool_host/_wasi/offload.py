"""WASI functions that run in a worker thread, because they may block on a file system.

The same function runs as a whole. It must not outlive the objects that it uses, because its task
may be cancelled while it blocks, and the guest may then be gone:

- The guest's memory is read and written on the trio thread: each access is sent there, and refused
  after the task was cancelled. (An access costs about 50 us, which is little beside a network.)
- The guest's descriptors are closed by the thread or by the end of the instance, whichever comes
  last. Otherwise a descriptor's number could be reused for another guest's file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, final

import trio

from wasmpool_host._errors import GuestMemoryError

from .device_calls import calls_of
from .errno import Errno, WasiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guest_memory import GuestMemory
    from .process import Process

__all__ = ["call_offloaded", "run_offloaded"]

T = TypeVar("T")


async def run_offloaded(
    process: Process,
    device: int,
    function: Callable[..., None],
    memory: GuestMemory,
    args: tuple[int, ...],
) -> None:
    """Run a WASI function in a thread.

    Raises:
        TooManyAbandoned: (``EAGAIN``) too many calls on this device were cancelled and still block.
        Exception: what the function raises.

    A cancel returns at once.
    """
    relay = _MemoryRelay(memory)
    try:
        await call_offloaded(process, device, function, process, relay, *args)
    finally:
        relay.close()


async def call_offloaded(
    process: Process, device: int, function: Callable[..., T], *args: object
) -> T:
    """Call a function on the files of a process in a thread, and return its result.

    It raises as `run_offloaded`, and a cancel returns at once.
    """
    return await calls_of(device).run(_call, process, function, args)


def _call(process: Process, function: Callable[..., T], args: tuple[object, ...]) -> T:
    """In the thread."""
    if not process.begin_offloaded():
        raise WasiError(Errno.CANCELED)  # the guest is gone, and nobody waits for this
    try:
        return function(*args)
    finally:
        process.end_offloaded()


@final
class _MemoryRelay:
    """A guest's memory, as a thread uses it: each access runs on the trio thread."""

    __slots__ = ("_memory",)

    def __init__(self, memory: GuestMemory) -> None:
        self._memory: GuestMemory | None = memory

    def close(self) -> None:
        """Refuse every further access."""
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

    def _on_loop(self, use: Callable[[GuestMemory], Any]) -> Any:
        return trio.from_thread.run_sync(self._use, use)

    def _use(self, use: Callable[[GuestMemory], Any]) -> Any:
        if self._memory is None:
            raise GuestMemoryError("the guest is gone")
        return use(self._memory)
