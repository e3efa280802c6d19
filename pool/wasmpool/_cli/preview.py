"""The first results of the generated text, for somebody who tries the command on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from .streams import Sink

__all__ = ["PREVIEW_ROWS", "Preview"]

PREVIEW_ROWS = 5
"""Each is several lines of a usual terminal."""


@final
@attrs.define(eq=False)
class Preview:
    """Passes the first rows on to a terminal and drops the others."""

    _sink: Sink
    _left: int = attrs.field(init=False, default=PREVIEW_ROWS)

    @property
    def name(self) -> str:
        """What errors call it."""
        return self._sink.name

    @property
    def is_terminal(self) -> bool:
        """Whether the next rows are shown; behind them, the progress bar is in nobody's way."""
        return self._sink.is_terminal and self._left > 0

    async def write(self, data: bytes, /) -> None:
        """Write the rows of `data` that are among the first."""
        if not self._left:
            return
        rows = data.splitlines(keepends=True)[: self._left]
        self._left -= len(rows)
        await self._sink.write(b"".join(rows))
