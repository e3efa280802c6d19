"""The kernel's memory of one instance, as the host sees it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, final

from wasmpool_host._errors import GuestMemoryError
from wasmpool_host._instance.memory import Memory
from wasmpool_host._record import Record

from .kernel_module import ACTIVE, CALL, CALL_NUMBER_AT, ENTRIES, ENTRY, GRANULE, MOST_PAGES_AT

if TYPE_CHECKING:
    from typing import Any

    from wasmpool_host import _capi

__all__ = ["Blocks", "Outcome"]

_U64: Final = (1 << 64) - 1


class Outcome(Record):
    """What a call has left in the kernel."""

    __slots__ = __match_args__ = ("output", "length", "error")

    output: int
    """Where the output begins."""
    length: int
    """Its length in bytes."""
    error: int
    """The block of the error's text, or 0."""

    def __init__(self, output: int, length: int, error: int) -> None:
        self._fill(output, length, error)


@final
class Blocks:
    """Reads and writes blocks. What the guest says of them is checked by what the kernel knows."""

    __slots__ = ("_memory", "_state")

    def __init__(self, store: _capi.Store, memory: Any, state: Any) -> None:
        """``memory`` and ``state`` are the externs of the kernel's memories, kept alive here."""
        self._memory = Memory(partial(store.region_of, memory))
        self._state = Memory(partial(store.region_of, state))

    def length(self, offset: int) -> int:
        """The length in bytes of the block at an offset; 0 where no block begins."""
        offset &= _U64
        entry = ENTRIES + offset // GRANULE * ENTRY.size
        if offset % GRANULE or entry + ENTRY.size > self._state.size:
            return 0
        length, size = ENTRY.unpack(self._state.read(entry, ENTRY.size))
        return length if size & ACTIVE else 0

    def read(self, offset: int, length: int) -> bytes:
        """Copy bytes out.

        Raises:
            GuestMemoryError: they are not all in the kernel's memory.
        """
        return self._memory.read(offset & _U64, length)

    def write(self, offset: int, data: bytes) -> None:
        """Copy bytes into a block that is as long."""
        self._memory.write(offset & _U64, data)

    def outcome(self) -> Outcome:
        """What the last call has left."""
        layout, at = CALL
        _, _, output, length, error = layout.unpack(self._state.read(at, layout.size))
        return Outcome(output, length, error)

    def call_number(self) -> int:
        """Another number in each call."""
        return int.from_bytes(self._state.read(CALL_NUMBER_AT, 4), "little")

    def limit(self, pages: int) -> None:
        """Set the most pages that the memory of the blocks may have."""
        self._state.write(MOST_PAGES_AT, pages.to_bytes(4, "little"))

    def size(self) -> int:
        """Bytes of both memories."""
        return self._memory.size + self._state.size

    def read_block(self, owner: str, offset: int, most: int) -> bytes:
        """Copy a block out; offset 0 is an empty one, as it is in Extism.

        Raises:
            GuestMemoryError: there is no such block, or it is longer than ``most``; ``owner``
                begins the message.
        """
        start, length = self.read_start(owner, offset, most)
        if length > most:
            message = f"{owner} was given a block of {length:,} bytes, above {most:,}"
            raise GuestMemoryError(message)
        return start

    def read_start(self, owner: str, offset: int, most: int) -> tuple[bytes, int]:
        """Copy the first ``most`` bytes of a block out; return them, and the block's length.

        Raises:
            GuestMemoryError: there is no such block.
        """
        offset &= _U64
        length = self.length(offset)
        if offset and not length:
            message = f"{owner} was given the offset {offset:#x}, where no block begins"
            raise GuestMemoryError(message)
        return (self.read(offset, min(length, most)) if length else b""), length
