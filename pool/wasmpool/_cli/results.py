"""Where the rows of a run go: the output, perhaps a file of errors, and a record for a later run.

They are written in this order: what covers a row is there before the row is. So a run that is
killed at any moment leaves no row in the output that is missing elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from wasmpool._batch.ordered import Done

    from .resume import RunRecord
    from .streams import OutputSink

__all__ = ["Results"]

_NUMBER: Final = b'{"line": '


@final
@attrs.define(eq=False, kw_only=True)
class Results:
    """The files of a run."""

    output: OutputSink
    errors: OutputSink | None = None
    """Gets the rows of the lines that failed, each with the number of its line."""
    record: RunRecord | None = None
    writes: str = attrs.field(init=False, default="")
    """The name of what is being written, for error messages."""

    async def write(self, done: Sequence[Done]) -> None:
        """Write rows.

        Raises:
            OSError: what `writes` names cannot be written.
        """
        if self.record is not None:
            self.writes = self.record.name
            await self.record.cover(done)
        if self.errors is not None and any(each.rows.failed for each in done):
            self.writes = self.errors.name
            await self.errors.write(b"".join(_numbered_errors(done)))
        self.writes = self.output.name
        await self.output.write(b"".join(each.rows.content for each in done))

    async def finish(self) -> None:
        """Write what a later run needs, when no more rows come.

        Raises:
            OSError: what `writes` names cannot be written.
        """
        if self.record is not None:
            self.writes = self.record.name
            await self.record.finish()


def _numbered_errors(done: Iterable[Done]) -> Iterator[bytes]:
    for each in done:
        for place, row in each.rows.failed_rows():
            number = each.chunk.first_line + place
            yield row if row.startswith(_NUMBER) else b"%b%d, %b" % (_NUMBER, number, row[1:])
