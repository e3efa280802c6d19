"""The place in the present trio run. It does lines one by one, so each row is there at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .chunk import Chunk, ChunkRows
    from .work import Work

__all__ = ["Here"]


@final
class Here:
    """A guest in the present trio run, as `Places`.

    Args:
        work: on an open guest.
        tasks: how many calls may be under way at once.
    """

    most_lines = 1

    def __init__(self, work: Work, tasks: int) -> None:
        self._work = work
        self.size = tasks

    async def do(self, chunk: Chunk, /) -> ChunkRows:
        """Answer the chunk's line."""
        return await self._work.do_line(chunk)

    def facts(self) -> Iterator[tuple[str, str]]:
        """Return nothing: the pool's statistics say more."""
        return iter(())
