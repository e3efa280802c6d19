"""Memories as segments: every byte is there, they are few, and Wasmtime maps an image of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmpool_host import Module
from wasmpool_host._snapshot.image import CHUNK, Chunk, segments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wasmpool_host import Instance

MIB = 1 << 20


def chunks_of(memory: bytes) -> list[Chunk]:
    """The parts of a memory as they are read from an instance."""
    parts = [Chunk(at, memory[at : at + CHUNK]) for at in range(0, len(memory), CHUNK)]
    return [part for part in parts if any(part.content)]


def written(memory: bytes, most: int = 10_000) -> tuple[bytes, int]:
    """The memory that the segments of another one make, and their number."""
    found = segments([chunks_of(memory)], most)
    made = bytearray(len(memory))
    end = -1
    for segment in found:
        assert segment.address > end, "they are in order, and do not touch"
        end = segment.address + len(segment.content)
        made[segment.address : end] = segment.content
    return bytes(made), len(found)


def with_bytes(size: int, where: Mapping[int, bytes]) -> bytes:
    """A memory with something in it."""
    memory = bytearray(size)
    for at, content in where.items():
        memory[at : at + len(content)] = content
    return bytes(memory)


@given(
    st.dictionaries(
        st.integers(0, 3 * CHUNK - 100) | st.integers(CHUNK - 80, CHUNK + 20),
        st.binary(min_size=1, max_size=80),
        max_size=20,
    ),
    st.sampled_from([1, 2, 5, 10_000]),
)
@settings(deadline=None, max_examples=150)
def test_every_byte_is_there(where: Mapping[int, bytes], most: int) -> None:
    """Whatever the gaps, at the borders of what is read at once, too, and however few segments."""
    memory = with_bytes(3 * CHUNK, where)
    made, count = written(memory, most)
    assert made == memory
    assert count <= most


def test_gaps_part_segments_where_they_are_worth_it() -> None:
    """Zeros are left out from 64 on, and nothing is written of a memory of zeros."""
    assert written(with_bytes(1000, {10: b"a", 74: b"b"})) == (
        with_bytes(1000, {10: b"a", 74: b"b"}),
        1,
    )
    assert written(with_bytes(1000, {10: b"a", 75: b"b"}))[1] == 2
    assert written(bytes(2 * CHUNK))[1] == 0


def test_segments_are_few() -> None:
    """The widest gaps part them, where there are more gaps than segments."""
    memory = with_bytes(
        MIB, dict.fromkeys(range(0, MIB, 100), b"x") | {MIB - 30_000: bytes(10_000)}
    )
    made, count = written(memory, 2)
    assert (made, count) == (memory, 2)


def test_several_memories_share_the_segments() -> None:
    """Each has one at least."""
    memory = with_bytes(10_000, dict.fromkeys(range(0, 10000, 100), b"x"))
    found = segments([chunks_of(memory)] * 3, 2)
    assert [(each.memory, each.address) for each in found] == [(0, 0), (1, 0), (2, 0)]


@pytest.mark.parametrize(
    ("where", "extent"),
    [
        ({0: b"a", 20 * MIB: b"b"}, 20 * MIB),  # one gap
        ({0: b"x" * 9 * MIB, 18 * MIB: b"b"}, 18 * MIB),  # already nearly half full
        ({0: b"a", 7 * MIB: b"b", 21 * MIB: b"c"}, 21 * MIB),  # the smaller gap is not enough
    ],
)
def test_gaps_are_filled_where_that_makes_an_image(where: Mapping[int, bytes], extent: int) -> None:
    """From 16 MiB on, an image has to be more than half full; the smallest gaps are filled."""
    memory = with_bytes(24 * MIB, where)
    found = segments([chunks_of(memory)], 10_000)
    assert 2 * sum(len(each.content) for each in found) > extent + 1
    assert written(memory)[0] == memory


def test_a_memory_with_large_gaps_is_not_filled() -> None:
    """The binary would be too large: more than 64 MiB of zeros."""
    far = Chunk(200 * MIB, b"b")
    found = segments([[Chunk(0, b"a"), far]], 10_000)
    assert [len(each.content) for each in found] == [1, 1]


def mapped_files() -> int:
    """How many parts of this process's memory are images that Wasmtime has made."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    return sum("wasm-memory-image" in line for line in maps.splitlines())


def writes(where: Mapping[int, bytes]) -> Callable[[Instance], None]:
    """A setup that writes to the memory."""

    def setup(instance: Instance) -> None:
        for at, content in where.items():
            instance.memory.write(at, content)

    return setup


@pytest.mark.parametrize(
    ("where", "is_mapped"),
    [
        ({100: b"a", 15 * MIB: b"b"}, True),
        ({100: b"a", 20 * MIB - 8: b"b"}, True),
        (dict.fromkeys(range(0, 20 * MIB, 99_991), b"x"), True),
        ({100: b"a", 200 * MIB: b"b"}, False),  # its gap is too large to be filled
    ],
)
async def test_wasmtime_makes_an_image(where: Mapping[int, bytes], *, is_mapped: bool) -> None:
    """An instance maps a file in memory, and copies nothing."""
    text = '(module (memory (export "memory") 3201 3201) (memory (export "other") 1 1))'
    ready = await (await Module.compile(text)).snapshot(writes(where))
    before = mapped_files()
    instance = await ready.instantiate()
    assert (mapped_files() > before) == is_mapped
    for at, content in where.items():
        assert instance.memory.read(at, len(content)) == content
    await instance.aclose()
