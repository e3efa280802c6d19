"""The kernel's memory of one instance, as the host sees it.

A crossing costs more than most host functions do. So the host does itself what the kernel's
functions ``begin``, ``alloc`` and ``free`` do, as long as no memory has to grow; a test compares
both with one model. What is in ``state`` was written by the kernel or here, never by a guest.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, Protocol, final

from wasmpool_host._errors import GuestMemoryError
from wasmpool_host._record import Record

from .kernel_module import (
    ACTIVE,
    CALL,
    ENTRIES,
    ENTRY,
    FREED_AT,
    GRANULE,
    INPUT_AT,
    MOST_PAGES_AT,
    NUMBERS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Blocks", "Outcome"]

_U64: Final = (1 << 64) - 1
_U32: Final = struct.Struct("<I")
_INPUT: Final = struct.Struct("<2Q")
_CALL, _CALL_AT = CALL
_NUMBERS, _NUMBERS_AT = NUMBERS
_END_AT: Final = _NUMBERS_AT + _U32.size
_TOP: Final = struct.Struct("<2I")
_MOST_CLEARED: Final = 1 << 20
"""Bytes that are cleared here. A guest may leave 64 MiB, which it has not even touched."""
_ZEROS: Final = memoryview(bytes(1 << 16))


class Window(Protocol):
    """One of the kernel's memories."""

    def open(self) -> tuple[Any, int]:
        """A view of its bytes, and how many there are until the guest runs again."""
        ...


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
    """Reads, writes, makes and frees blocks, by what the kernel knows of them."""

    __slots__ = ("_memory", "_state")

    def __init__(self, memory: Window, state: Window) -> None:
        self._memory = memory
        self._state = state

    # --- one call ---

    def begin(self, data: bytes) -> bool:
        """Clear all that the last call has left, and take an input.

        Returns:
            False, and nothing is done, if a memory has to grow for it, or if there is so much to
            clear that the loop would wait for it: then the kernel's ``begin`` has to be called.
        """
        state, state_size = self._state.open()
        memory, memory_size = self._memory.open()
        size = len(data)
        granules = (size + GRANULE - 1) // GRANULE
        end = GRANULE + granules * GRANULE
        if end > memory_size or _entry_of(end) > state_size:
            return False
        number, _, high = _NUMBERS.unpack_from(state, _NUMBERS_AT)
        if high > _MOST_CLEARED:
            return False
        _clear(memory, GRANULE, high)
        _clear(state, 0, MOST_PAGES_AT)
        _clear(state, ENTRIES, _entry_of(high))
        _NUMBERS.pack_into(state, _NUMBERS_AT, number + 1 & 0xFFFF_FFFF, end, end)
        if size:
            ENTRY.pack_into(state, ENTRIES + ENTRY.size, size, granules | ACTIVE)
            _INPUT.pack_into(state, INPUT_AT, GRANULE, size)
            memory[GRANULE : GRANULE + size] = data
        return True

    def call_number(self) -> int:
        """Another number in each call."""
        state, _ = self._state.open()
        number: int = _U32.unpack_from(state, _NUMBERS_AT)[0]
        return number

    def outcome(self) -> Outcome:
        """What the last call has left."""
        state, _ = self._state.open()
        _, _, output, length, error = _CALL.unpack_from(state, _CALL_AT)
        return Outcome(output, length, error)

    # --- blocks ---

    def length(self, offset: int) -> int:
        """The length in bytes of the block at an offset; 0 where no block begins."""
        state, state_size = self._state.open()
        return _length(state, state_size, offset & _U64)

    def read(self, offset: int, length: int) -> bytes:
        """Copy bytes out.

        Raises:
            GuestMemoryError: they are not all in the kernel's memory.
        """
        memory, size = self._memory.open()
        offset &= _U64
        if offset + length > size:
            message = f"cannot read {length:,} bytes at {offset:#x}: the blocks have {size:,} bytes"
            raise GuestMemoryError(message)
        return bytes(memory[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        """Copy bytes into a block that is as long."""
        memory, size = self._memory.open()
        if offset + len(data) > size:  # it never is: the kernel has made the block
            message = f"cannot write {len(data):,} bytes at {offset:#x}: the blocks have {size:,}"
            raise GuestMemoryError(message)
        memory[offset : offset + len(data)] = data

    def give(self, data: bytes, freed: Iterable[int]) -> int | None:
        """Free blocks, and make one of ``data``.

        Returns:
            Its offset, or 0 for no bytes. None if a memory has to grow, or a free block has to be
            found: then the blocks are freed, and the kernel's ``alloc`` has to make the new one.
        """
        state, state_size = self._state.open()
        for offset in freed:
            _free(state, state_size, offset & _U64)
        size = len(data)
        if not size:
            return 0
        memory, memory_size = self._memory.open()
        at, high = _TOP.unpack_from(state, _END_AT)
        granules = (size + GRANULE - 1) // GRANULE
        end = at + granules * GRANULE
        if end > memory_size or _entry_of(end) > state_size:
            return None
        _TOP.pack_into(state, _END_AT, end, max(end, high))
        ENTRY.pack_into(state, _entry_of(at), size, granules | ACTIVE)
        memory[at : at + size] = data
        return int(at)

    def limit(self, pages: int) -> None:
        """Set the most pages that the memory of the blocks may have."""
        state, _ = self._state.open()
        _U32.pack_into(state, MOST_PAGES_AT, pages)

    def size(self) -> int:
        """Bytes of both memories."""
        return self._memory.open()[1] + self._state.open()[1]

    # --- what a guest calls a block ---

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


def _clear(view: Any, start: int, stop: int) -> None:
    """Write zeros, piece by piece, so that nothing has to be allocated."""
    for at in range(start, stop, len(_ZEROS)):
        end = min(at + len(_ZEROS), stop)
        view[at:end] = _ZEROS[: end - at]


def _entry_of(offset: int) -> int:
    """Where ``state`` has the entry of the granule at an offset; those before it end there."""
    return ENTRIES + offset // GRANULE * ENTRY.size


def _length(state: Any, state_size: int, offset: int) -> int:
    entry = _entry_of(offset)
    if offset % GRANULE or entry + ENTRY.size > state_size:
        return 0
    length, size = ENTRY.unpack_from(state, entry)
    return length if size & ACTIVE else 0


def _free(state: Any, state_size: int, offset: int) -> None:
    """Free a block as the kernel does; what is no block is left alone."""
    if not _length(state, state_size, offset):
        return
    entry = _entry_of(offset)
    granules = ENTRY.unpack_from(state, entry)[1] & ~ACTIVE
    if _INPUT.unpack_from(state, INPUT_AT)[0] == offset:
        _INPUT.pack_into(state, INPUT_AT, offset, 0)
    ENTRY.pack_into(state, entry, _U32.unpack_from(state, FREED_AT)[0], granules)
    _U32.pack_into(state, FREED_AT, offset // GRANULE)
