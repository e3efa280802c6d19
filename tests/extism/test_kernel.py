"""The kernel against a model: blocks do not overlap, and nothing outside of them is touched."""

from __future__ import annotations

import ctypes
from typing import Any, Final

import pytest
import wasmtime
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from wasmpool_host._extism.blocks import Blocks
from wasmpool_host._extism.kernel_module import (
    ACTIVE,
    ENTRIES,
    ENTRY,
    FUNCTIONS,
    GRANULE,
    KERNEL,
    MOST_PAGES_AT,
    NUMBERS,
)

_ENGINE: Final = wasmtime.Engine()
_MODULE: Final = wasmtime.Module(_ENGINE, KERNEL)
_PAGES: Final = 8
_U64: Final = (1 << 64) - 1

OFFSETS = st.one_of(
    st.integers(0, 4 * GRANULE),
    st.integers(0, _PAGES << 16),
    st.integers((1 << 32) - 20, (1 << 32) + 20),
    st.integers((1 << 63) - 8, (1 << 63) + 8),
    st.integers(_U64 - 100, _U64),
)
"""Wild offsets, above all around the edges."""

SIZES = st.one_of(
    st.integers(1, 3 * GRANULE),
    st.integers(1, 1 << 17),
    st.sampled_from([0, (_PAGES << 16) - GRANULE, 1 << 30, (1 << 30) + 1, 1 << 32, _U64]),
)


class Window:
    """A memory of the wheel's, as the host's side of the kernel has it."""

    def __init__(self, store: wasmtime.Store, memory: Any) -> None:
        self._store = store
        self._memory = memory

    def open(self) -> tuple[Any, int]:
        """The view, and its size."""
        size = self._memory.data_len(self._store)
        base = ctypes.addressof(self._memory.data_ptr(self._store).contents)
        return memoryview((ctypes.c_char * size).from_address(base)).cast("B"), size


class Kernel:
    """The kernel by itself, in the wheel's own classes, and the host's side of it."""

    def __init__(self, pages: int = _PAGES) -> None:
        self.store = wasmtime.Store(_ENGINE)
        exports = wasmtime.Instance(self.store, _MODULE, []).exports(self.store)
        self.exports: dict[str, Any] = dict(exports.items())
        self.state: Any = self.exports["state"]
        self.memory: Any = self.exports["memory"]
        self.state.write(self.store, pages.to_bytes(4, "little"), MOST_PAGES_AT)
        windows = (Window(self.store, memory) for memory in (self.memory, self.state))
        self.host = Blocks(*windows)

    def call(self, name: str, *args: int) -> int:
        """Call a function; its result is unsigned."""
        signed = [a - (1 << 64) if a >> 63 else a for a in args]
        result = self.exports[name](self.store, *signed)
        return 0 if result is None else result & _U64


class Model(RuleBasedStateMachine):
    """Random sequences of all that a guest can call, against dicts."""

    blocks = Bundle("blocks")

    def __init__(self) -> None:
        super().__init__()
        self.kernel = Kernel()
        self.live: dict[int, bytearray] = {}
        self.input = (0, 0)
        self.output = (0, 0)
        self.error = 0

    def inside(self, offset: int, size: int) -> bool:
        """Whether a region is below the end of all blocks, as the kernel's own global says."""
        return offset >= GRANULE and offset + size <= self.end()

    def end(self) -> int:
        """The end of the blocks: where the first offset is that can not be written."""
        return self._end

    _end = GRANULE

    def probe_end(self) -> None:
        """Read the end from the kernel's state, and see that no store has an effect behind it."""
        layout, at = NUMBERS
        found = self.kernel.state.read(self.kernel.store, at, at + layout.size)
        self._end = layout.unpack(found)[1]
        assert self._end % GRANULE == 0
        assert self._end == GRANULE or self.writable(self._end - 1)
        assert not self.writable(self._end)

    def writable(self, offset: int) -> bool:
        """Whether a store there has an effect; the byte is put back."""
        before = self.kernel.call("load_u8", offset)
        self.kernel.call("store_u8", offset, before ^ 1)
        changed = self.kernel.call("load_u8", offset) != before
        self.kernel.call("store_u8", offset, before)
        return changed

    @rule(target=blocks, size=SIZES, byte=st.integers(0, 255))
    def alloc(self, size: int, byte: int) -> int:
        """A new block overlaps no other, and keeps its length."""
        return self._made(self.kernel.call("alloc", size), size, byte)

    @rule(target=blocks, size=st.integers(0, 1 << 17), byte=st.integers(0, 255), freed=blocks)
    def give(self, size: int, byte: int, freed: int) -> int:
        """The host makes and frees blocks as the kernel does, as long as there is room."""
        offset = self.kernel.host.give(bytes([byte]) * size, [freed, 12345])
        self._freed(freed)
        if offset is None:
            offset = self.kernel.call("alloc", size)
        return self._made(offset, size, byte)

    def _made(self, offset: int, size: int, byte: int) -> int:
        if not offset:
            assert size == 0 or size > 1024 or len(self.live) > 100 or self.end() > 1 << 18
            self.probe_end()
            return 0
        assert offset % GRANULE == 0
        assert offset not in self.live
        for other, content in self.live.items():
            assert offset + size <= other or other + len(content) <= offset
        self.probe_end()
        assert offset + size <= self.end() <= _PAGES << 16
        content = bytearray([byte]) * size
        self.kernel.memory.write(self.kernel.store, content, offset)
        self.live[offset] = content
        return offset

    @rule(offset=st.one_of(blocks, OFFSETS))
    def free(self, offset: int) -> None:
        """A free of what is no block does nothing."""
        self.kernel.call("free", offset)
        self._freed(offset)
        self.probe_end()

    def _freed(self, offset: int) -> None:
        if self.live.pop(offset, None) is not None and offset == self.input[0]:
            self.input = (offset, 0)

    @rule(offset=st.one_of(blocks, OFFSETS))
    def length(self, offset: int) -> None:
        """Where no block begins the length is 0."""
        expected = len(self.live.get(offset, b""))
        assert self.kernel.call("length", offset) == expected
        assert self.kernel.call("length_unsafe", offset) == expected
        assert self.kernel.host.length(offset) == expected

    @rule(
        offset=OFFSETS,
        block=blocks,
        near=st.booleans(),
        wide=st.booleans(),
        value=st.integers(0, _U64),
    )
    def store(self, offset: int, block: int, near: bool, wide: bool, value: int) -> None:
        """A store changes the bytes there, or nothing at all where no block ever was."""
        at = (block + offset % 300) & _U64 if near else offset
        size = 8 if wide else 1
        name, value = ("store_u64", value) if wide else ("store_u8", value & 0xFF)
        before = self.kernel.memory.read(self.kernel.store, 0)
        self.kernel.call(name, at, value)
        after = self.kernel.memory.read(self.kernel.store, 0)
        if not self.inside(at, size):
            assert after == before
            assert self.kernel.call("load_u64" if wide else "load_u8", at) == 0
            return
        assert after[at : at + size] == value.to_bytes(size, "little")
        assert (after[:at], after[at + size :]) == (before[:at], before[at + size :])
        assert self.kernel.call("load_u64" if wide else "load_u8", at) == value
        for start, content in self.live.items():
            content[:] = after[start : start + len(content)]

    @rule(offset=st.one_of(blocks, OFFSETS), size=SIZES, output=st.booleans())
    def set_region(self, offset: int, size: int, output: bool) -> None:
        """The input and the output are where blocks are, or stay as they were."""
        self.kernel.call("output_set" if output else "input_set", offset, size)
        if self.inside(offset, size) and offset < self.end():
            if output:
                self.output = (offset, size)
            else:
                self.input = (offset, size)

    @rule(offset=st.one_of(blocks, OFFSETS))
    def set_error(self, offset: int) -> None:
        """An error is 0, or where blocks are."""
        self.kernel.call("error_set", offset)
        if offset == 0 or self.inside(offset, 1):
            self.error = offset

    @rule(offset=st.one_of(st.integers(0, 300), OFFSETS))
    def load_input(self, offset: int) -> None:
        """Outside of the input there are zeros."""
        start, length = self.input
        memory = self.kernel.memory.read(self.kernel.store, 0)
        for name, size in (("input_load_u8", 1), ("input_load_u64", 8)):
            found = self.kernel.call(name, offset)
            if offset + size > length:
                assert found == 0
            else:
                at = start + offset
                assert found == int.from_bytes(memory[at : at + size], "little")

    @rule(size=SIZES, by_host=st.booleans())
    def begin(self, size: int, by_host: bool) -> None:
        """A new call finds nothing of the last one: all bytes are 0, and there is no block."""
        number = self.kernel.host.call_number()
        if by_host and size < 1 << 18 and self.kernel.host.begin(bytes(size)):
            offset = GRANULE if size else 0
        else:
            offset = self.kernel.call("begin", size)
        assert self.kernel.host.call_number() == number + 1
        self.live.clear()
        self.input, self.output, self.error = (0, 0), (0, 0), 0
        if offset:
            self.live[offset] = bytearray(size)
            self.input = (offset, size)
        self.probe_end()
        assert not any(self.kernel.memory.read(self.kernel.store, 0))

    @invariant()
    def is_as_modelled(self) -> None:
        """All registers, and the bytes of all blocks, are those of the model."""
        call = self.kernel.call
        assert (call("input_offset"), call("input_length")) == self.input
        assert (call("output_offset"), call("output_length")) == self.output
        assert call("error_get") == self.error
        outcome = self.kernel.host.outcome()
        assert (outcome.output, outcome.length, outcome.error) == (*self.output, self.error)
        memory = self.kernel.memory.read(self.kernel.store, 0)
        assert call("memory_bytes") == len(memory) <= _PAGES << 16
        for offset, content in self.live.items():
            assert memory[offset : offset + len(content)] == content
        assert not any(memory[self.highest() :])

    def highest(self) -> int:
        """The farthest that blocks have been: beyond it nothing was ever written."""
        self._highest = max(self._highest, self.end())
        return self._highest

    _highest = GRANULE


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=5, stateful_step_count=20, deadline=None)


@pytest.mark.slow
class TestModelAtLength(Model.TestCase):  # type: ignore[misc,valid-type]  # it is made at run time
    """The same, for longer."""

    settings = settings(max_examples=50, stateful_step_count=60, deadline=None)


@pytest.fixture
def kernel() -> Kernel:
    """A kernel that may have 8 pages."""
    return Kernel()


def test_a_billion_allocations() -> None:
    """A full memory refuses each further block, at once, and keeps the ones that it has."""
    kernel = Kernel(pages=1)
    for _ in range((1 << 16) // GRANULE - 1):
        assert kernel.call("alloc", 1)
    for _ in range(100):
        assert kernel.call("alloc", 1) == 0
    assert kernel.call("begin", 10) == GRANULE


def test_freed_blocks_serve_again(kernel: Kernel) -> None:
    """A guest that frees what it allocates never runs out of memory, in any order of sizes."""
    sizes = [1, 100, 5_000, 64, 65, 300_000, 8, 300_000, 70_000]
    for _ in range(15):
        for size in sizes:
            keep = kernel.call("alloc", 10)
            offset = kernel.call("alloc", size)
            assert offset
            assert kernel.call("length", offset) == size
            kernel.call("free", offset)
            kernel.call("free", keep)
    assert kernel.memory.data_len(kernel.store) <= _PAGES << 16


def test_a_freed_block_is_used_again_late(kernel: Kernel) -> None:
    """As in Extism: PDKs free a block a second time, and their output is in one that is free."""
    first = kernel.call("alloc", 100)
    kernel.call("output_set", first, 100)
    kernel.call("free", first)
    reply = kernel.host.give(b"reply", [first])
    assert reply not in (None, 0, first)
    kernel.call("free", first)
    assert kernel.call("length", reply or 0) == 5
    assert kernel.call("alloc", 100) not in (first, reply)
    while (offset := kernel.call("alloc", 100)) > first:
        assert kernel.memory.data_len(kernel.store) == 1 << 16
    assert offset == first


def test_free_neighbours_are_joined_before_there_is_no_room(kernel: Kernel) -> None:
    """A full memory of small blocks that are free has room for a large one, and for many."""
    offsets = [kernel.call("alloc", 4_000) for _ in range(128)]
    assert all(offsets)
    for keep in range(0, 128, 16):
        for offset in offsets[keep : keep + 15]:
            kernel.call("free", offset)
    for _ in range(3):
        large = [kernel.call("alloc", 60_000) for _ in range(8)]
        assert all(large)
        for offset in large:
            kernel.call("free", offset)
    assert kernel.call("length", offsets[15]) == 4_000


def test_state_is_not_in_reach(kernel: Kernel) -> None:
    """What a guest stores anywhere never changes what the kernel knows of its blocks."""
    offset = kernel.call("alloc", 10)
    at = ENTRIES + offset // GRANULE * ENTRY.size
    before = kernel.state.read(kernel.store, at, at + ENTRY.size)
    assert ENTRY.unpack(before) == (10, 1 | ACTIVE)
    for wild in [*range(0, 600, 8), *range(_U64 - 64, _U64)]:
        kernel.call("store_u64", wild, _U64)
    assert kernel.state.read(kernel.store, at, at + ENTRY.size) == before


def test_guests_import_no_more_than_the_contract() -> None:
    """The kernel has each function of the contract in its type, and three exports for the host."""
    types = {export.name: export.type for export in _MODULE.exports}
    assert types.keys() - FUNCTIONS.keys() == {"memory", "state", "begin"}
    for name, type_ in FUNCTIONS.items():
        found: Any = types[name]
        assert tuple(map(str, found.params)) == type_.params
        assert tuple(map(str, found.results)) == type_.results


def test_what_takes_long_to_clear_is_cleared_by_the_kernel() -> None:
    """It can be interrupted there: there may be 64 MiB, which no guest has touched."""
    kernel = Kernel(pages=64)
    size = 3 << 20
    at = kernel.call("alloc", size)
    last = at + size - 1
    for offset in (at, at + (1 << 16) - 1, at + (1 << 16), last):
        kernel.call("store_u8", offset, 7)
    assert not kernel.host.begin(b"input")
    assert kernel.call("begin", 5) == GRANULE
    kernel.state.write(kernel.store, (at + size).to_bytes(4, "little"), NUMBERS[1] + 4)  # the end
    for offset in (at, at + (1 << 16) - 1, at + (1 << 16), last):
        assert kernel.call("load_u8", offset) == 0
    entries = kernel.state.read(kernel.store, ENTRIES + 2 * ENTRY.size, ENTRIES + (size >> 3))
    assert not any(entries)
    kernel.call("reset")
    assert kernel.host.begin(b"input")
