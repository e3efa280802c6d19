"""The first rows of a chunk, before the others are there.

A place in this trio run shows them, so that a slow line holds back no row before it. Other places
send the rows of a chunk in one piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from .chunk import Chunk, ChunkRows

__all__ = ["Progress"]


def _nothing(_: bool) -> None:  # noqa: FBT001 - as `first_rows`
    return None


@final
@attrs.define(eq=False)
class Progress:
    """A chunk under way."""

    rest: Chunk
    """The lines whose rows were not taken."""
    tell: Callable[[], None]
    """The place calls it when the first of these lines has its row."""
    first_rows: Callable[[bool], ChunkRows | None] = attrs.field(init=False, default=_nothing)
    """Set by the place: returns the rows that are there of the first lines, each once. The last row
    of the chunk is among them only if the argument is True: it comes when the chunk is done."""

    def take(self, *, whole: bool) -> tuple[Chunk, ChunkRows] | None:
        """Take the first rows and their lines; None if there are none.

        Args:
            whole: True if the chunk will not be done any more.
        """
        rows = self.first_rows(whole)
        if rows is None:
            return None
        done = self.rest
        if rows.count < done.count:
            done, self.rest = done.parts(rows.count)
        return done, rows
