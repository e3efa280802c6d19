"""Where chunks are done: in this trio run, in other processes, threads or machines.

What is above knows places by this protocol only. So the order of the rows, retries, resuming, and
all that a command does with rows, are written once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from wasmpool import WasmpoolError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .chunk import Chunk, ChunkRows
    from .progress import Progress

__all__ = ["PlaceLost", "Places", "PlacesFailed"]


class PlaceLost(Exception):
    """A place has ended with chunks in it; the message says how: "the process was killed ..."."""


class PlacesFailed(WasmpoolError):
    """No more chunks can be done, as no place can be had; the message says why."""


class Places(Protocol):
    """Some places that do chunks, while the block that has opened them lasts."""

    @property
    def size(self) -> int:
        """How many chunks may be given to them at once, so that none is without work."""
        ...

    @property
    def most_lines(self) -> int:
        """The most lines that a chunk should have."""
        ...

    @property
    def most_ahead(self) -> int | None:
        """How many lines may be given to them before the rows of the first are taken.

        None is as many as the chunks of the window have.
        """
        ...

    async def do(self, chunk: Chunk, progress: Progress | None = None, /) -> ChunkRows:
        """Do a chunk in any place, and return the rows of all or of its first lines.

        Those that were taken from ``progress`` before are not among them. A place may leave
        ``progress`` alone.

        Raises:
            PlaceLost: the place has ended meanwhile. There is another one for the next chunk.
            PlacesFailed: there is no other one.

        A cancel ends the work on this chunk, or leaves it to a place that ends soon.
        """
        ...

    def facts(self) -> Iterator[tuple[str, str]]:
        """Return what there is to say about them at the end: names and values."""
        ...
