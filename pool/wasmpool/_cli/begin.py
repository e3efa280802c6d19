"""The start of a run: its outputs are emptied, or it goes on with what an earlier one has left."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs
import trio

from .go_on import cut_errors, resume, work_of
from .input_output import cannot_be_written
from .kept_rows import KeptRows
from .preview import Preview
from .results import Results
from .shown import shown

if TYPE_CHECKING:
    from wasmpool._batch.feed import Blocks

    from .run_options import RunOptions
    from .run_places import RunPlaces
    from .streams import FileSink, InputSource

__all__ = ["Begun", "RunFiles", "begin", "shows_few"]


@final
@attrs.frozen
class RunFiles:
    """The files of a run, which are open."""

    source: InputSource
    sink: FileSink
    errors: FileSink | None


@final
@attrs.frozen(kw_only=True)
class Begun:
    """What a run reads and writes."""

    blocks: Blocks
    """The input behind the lines that have results."""
    results: Results
    kept: KeptRows = attrs.field(factory=lambda: KeptRows(0, 0, 0))
    """The results of an earlier run."""
    skipped: int = 0
    """Bytes of the lines that have them."""


async def begin(options: RunOptions, prepared: RunPlaces, files: RunFiles) -> Begun:
    """Empty the outputs, or cut them where they go on: the last thing that can be refused.

    Raises:
        WrongUse: a file cannot be used; it is as it was.
    """
    name = files.sink.name
    try:
        if options.resume is None:
            files.sink.empty()
            if files.errors is not None:
                name = files.errors.name
                files.errors.empty()
            sink = Preview(files.sink) if shows_few(options, files.sink) else files.sink
            return Begun(blocks=files.source, results=Results(output=sink, errors=files.errors))
        work = work_of(prepared.job, prepared.module.digest)
        resumed = await resume(files.sink, files.source, work)
        if files.errors is not None:
            name = files.errors.name
            await trio.to_thread.run_sync(cut_errors, files.errors, resumed.kept.count)
    except OSError as error:
        raise cannot_be_written(shown(name), error) from error
    results = Results(output=files.sink, errors=files.errors, record=resumed.record)
    return Begun(
        blocks=resumed.source,
        results=results,
        kept=resumed.kept,
        skipped=resumed.source.skipped,
    )


def shows_few(options: RunOptions, sink: FileSink) -> bool:
    """Return True if only the first results are shown: those of the generated text, at first."""
    return options.reads_sample and options.output is None and sink.is_terminal
