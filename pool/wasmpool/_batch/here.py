"""The place in the present trio run. It shows the rows of a chunk while others are under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from .pace import MOST_LINES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .chunk import Chunk, ChunkRows
    from .progress import Progress
    from .work import Work

__all__ = ["Here"]

_AHEAD: Final = 1000
"""Lines before whose end a slow one stops the others: large chunks cost little, and a run that is
stopped has done no more than these in vain."""
_AHEAD_OF_A_CALL: Final = 8
"""Of those, if there are more calls: how far they get ahead of a slow one."""


@final
class Here:
    """A guest in the present trio run, as `Places`.

    Args:
        work: on an open guest.
        tasks: how many calls may be under way at once.
    """

    most_lines = MOST_LINES

    def __init__(self, work: Work, tasks: int) -> None:
        self._work = work
        self.most_ahead = max(_AHEAD, _AHEAD_OF_A_CALL * tasks)
        self.size = tasks  # a chunk may be one line, and each may have one slow line left

    async def do(self, chunk: Chunk, progress: Progress | None = None, /) -> ChunkRows:
        """Do a chunk, as `Places` says."""
        return await self._work.do(chunk, progress)

    def facts(self) -> Iterator[tuple[str, str]]:
        """Return nothing: the pool's statistics say more."""
        return iter(())
