"""What the HTTP of one component takes of the host: memory for headers and bodies, and requests.

A component may have thousands of handles, and each may be of a body of 16 MiB. So all of them
together are bounded as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import trio

if TYPE_CHECKING:
    from wasmpool_host._wasi.process import Process

__all__ = ["MOST_AT_ONCE", "MOST_BYTES", "HttpMemory", "MemoryIsFull", "Share"]

MOST_BYTES: Final = 128 * 2**20
"""Bytes of all headers and bodies that a component has at a time."""
MOST_AT_ONCE: Final = 32
"""Requests that are sent at a time; more wait. A reply on its way is in no handle yet."""


class MemoryIsFull(Exception):
    """There is no room for more: a result for the guest, never raised to a caller."""


@final
class HttpMemory:
    """The headers, the bodies and the requests of one component."""

    __slots__ = ("sending", "used")

    # Invariant: `used` is the sum of the sizes of all shares.

    def __init__(self) -> None:
        self.used: int = 0
        self.sending = trio.CapacityLimiter(MOST_AT_ONCE)
        """Has a place for each request that is sent."""

    @classmethod
    def of(cls, process: Process) -> HttpMemory:
        """That of a process."""
        if process.http is None:
            process.http = cls()
        memory: HttpMemory = process.http
        return memory


@final
class Share:
    """The bytes of one object. They are free again when nobody has it any more."""

    __slots__ = ("_memory", "_size")

    def __init__(self, memory: HttpMemory) -> None:
        self._memory = memory
        self._size = 0

    @property
    def memory(self) -> HttpMemory:
        """What it is a part of."""
        return self._memory

    def resize(self, size: int) -> None:
        """Take as many bytes as the object has now.

        Raises:
            MemoryIsFull: there is no room, and nothing is changed.
        """
        used = self._memory.used - self._size + size
        if used > MOST_BYTES and size > self._size:
            raise MemoryIsFull
        self._memory.used, self._size = used, size

    def __del__(self) -> None:
        self._memory.used -= self._size
