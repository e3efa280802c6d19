"""The first results of the generated text, for a first try of the command on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from .streams import OutputSink

__all__ = ["PREVIEW_ROWS", "Preview"]

PREVIEW_ROWS = 5
"""Each takes several lines of a terminal."""


@final
@attrs.define(eq=False)
class Preview:
    """Writes the first rows to a terminal and drops the others."""

    _sink: OutputSink
    _left: int = attrs.field(init=False, default=PREVIEW_ROWS)

    @property
    def name(self) -> str:
        """Its name in error messages."""
        return self._sink.name

    @property
    def is_terminal(self) -> bool:
        """True while rows are shown; after that, the progress bar can stay."""
        return self._sink.is_terminal and self._left > 0

    async def write(self, data: bytes, /) -> None:
        """Write those rows of `data` that belong to the first ones."""
        if not self._left:
            return
        rows = data.splitlines(keepends=True)[: self._left]
        self._left -= len(rows)
        await self._sink.write(b"".join(rows))
