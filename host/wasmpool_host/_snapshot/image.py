"""What the memories of an instance hold, as segments of data.

Wasmtime makes an image of such segments when it compiles, which each instance maps, to be copied
where it is written to: an instance then costs a mapping, however large its memory is. It does so
only if *each* memory's image, from its first byte to its last, is below 16 MiB, or less than twice
as long as its segments. Else each instance copies the segments, and takes milliseconds. So the gaps
between segments are filled with zeros, the smallest first, until there is an image.

Rejected: to fill a gap whatever it takes. Two bytes at both ends of a large memory would make a
binary of half that memory, to be compiled and kept.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["CHUNK", "Chunk", "Segment", "segments"]

CHUNK: Final = 1 << 18
"""Bytes of a memory that are read at once: the loop is free again after a fraction of a ms."""

_GAP: Final = 64
"""Zeros from which on they part two segments; a segment takes some bytes, too."""

_DENSE: Final = 16 << 20
"""Bytes below which Wasmtime makes an image, however few of them are not zero."""

_FILL_MOST: Final = 64 << 20
"""Bytes of zeros that are added to a memory's segments at most, for an image of it."""

_RUN: Final = re.compile(rb"[^\0]++(?:\0{1,%d}+[^\0]++)*+" % (_GAP - 1))
"""From one byte that is not zero to another, with no gap between them."""


@attrs.frozen
class Chunk:
    """A part of a memory that is not all zeros."""

    address: int
    content: bytes


@attrs.frozen
class Segment:
    """Where bytes stand in which memory, and the bytes."""

    memory: int
    address: int
    content: bytes


def segments(memories: Sequence[Iterable[Chunk]], most: int) -> list[Segment]:
    """Write memories as ``most`` segments at most, or one for each memory if that is more."""
    images = [_Image(chunks) for chunks in memories]
    share = max(1, most // max(1, len(images)))
    return [
        Segment(memory, address, content)
        for memory, image in enumerate(images)
        for address, content in image.written(share)
    ]


class _Image:
    """The runs of one memory: address and bytes, in order."""

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        self._runs = [
            (chunk.address + run.start(), run[0])
            for chunk in chunks
            for run in _RUN.finditer(chunk.content)
        ]

    def written(self, most: int) -> Iterator[tuple[int, bytes]]:
        """Join the runs that stand close together, and those that must be joined."""
        widest = max(_GAP - 1, self._gap_for(most), self._gap_for_image())
        joined: list[bytes] = []
        start = end = 0
        for address, content in self._runs:
            if joined and address - end > widest:
                yield start, b"".join(joined)
                joined = []
            if joined:
                joined.append(bytes(address - end))
            else:
                start = address
            joined.append(content)
            end = address + len(content)
        if joined:
            yield start, b"".join(joined)

    def _gaps(self) -> list[int]:
        """The zeros between the runs, the smallest gap first."""
        return sorted(
            following - address - len(content)
            for (address, content), (following, _) in pairwise(self._runs)
        )

    def _gap_for(self, most: int) -> int:
        """Return the widest gap to fill, for so many segments."""
        gaps = self._gaps()
        return gaps[-most] if len(gaps) >= most else 0

    def _gap_for_image(self) -> int:
        """Return the widest gap to fill, for Wasmtime to make an image; 0 if there is one, or none.

        All gaps of that width are filled.
        """
        if not self._runs:
            return 0
        (first, _), (last, content) = self._runs[0], self._runs[-1]
        extent = last + len(content) - first
        data = sum(len(content) for _, content in self._runs)
        if extent < _DENSE or extent < 2 * data:
            return 0
        missing = extent // 2 + 1 - data
        if missing > _FILL_MOST:
            return 0
        for gap in self._gaps():
            missing -= gap
            if missing <= 0:
                return gap
        return 0
