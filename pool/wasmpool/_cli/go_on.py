"""The files of a run that goes on with the results of an earlier one, and its file of errors."""

from __future__ import annotations

import fcntl
import os
import stat
from typing import TYPE_CHECKING, final

import attrs
import trio

from .kept_rows import KeptRows, kept_errors, kept_rows
from .resume import InputChanged, Record, ResumedInput, RunRecord
from .shown import shown
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from wasmpool._batch.job import Job

    from .streams import FileSink, InputSource

__all__ = ["Resumed", "cut_errors", "record_of", "resume", "work_of"]


def record_of(path: str) -> str:
    """Return the name of the record beside an output."""
    return f"{path}.resume"


@final
@attrs.frozen
class Resumed:
    """What a run goes on with."""

    source: ResumedInput
    record: RunRecord
    kept: KeptRows


def work_of(job: Job, digest: str) -> dict[str, object]:
    """Return what must be the same for results to belong together.

    Args:
        job: with its tool.
        digest: of the module.
    """
    return {
        "module": digest,
        "tool": job.tool,
        "args": list(job.args),
        "numbered": job.numbered,
    }


async def resume(sink: FileSink, source: InputSource, work: dict[str, object]) -> Resumed:
    """Prepare an output with results of an earlier run for more, and an input to go on with.

    A part of a row at its end is cut off, when all has been found in order.

    Raises:
        WrongUse: the output, its record and the input do not belong together.
        OSError: one of them cannot be read.
    """
    name = f"the output {shown(sink.name)}"
    _lock(sink, name)
    kept = await trio.to_thread.run_sync(kept_rows, sink.descriptor)
    path = record_of(sink.name)
    resumed = ResumedInput(source)
    if kept.count:
        record = await trio.to_thread.run_sync(Record.read, path)
        if record is None:
            raise WrongUse(
                f"{name} has results, but there is no {shown(path)}, which says of what input they"
                " are: give another file, or remove it"
            )
        _check_work(record.work, work, name)
        try:
            await resumed.skip(kept.count, record)
        except InputChanged as changed:
            raise WrongUse(
                f"{shown(source.name)} is not the input that the results in {shown(sink.name)} are"
                f" of: {changed}"
            ) from changed
    os.ftruncate(sink.descriptor, kept.size)
    os.lseek(sink.descriptor, 0, os.SEEK_END)
    return Resumed(resumed, RunRecord(path, resumed, work), kept)


def _lock(sink: FileSink, name: str) -> None:
    if sink.is_stdout or not stat.S_ISREG(os.fstat(sink.descriptor).st_mode):
        raise WrongUse(f"{name} is no file that a later run can go on with")
    try:
        fcntl.flock(sink.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until it is closed
    except BlockingIOError as error:
        raise WrongUse(f"{name} is being written by another run") from error


def _check_work(before: dict[str, object], work: dict[str, object], name: str) -> None:
    for key, value in work.items():
        if before.get(key) != value:
            raise WrongUse(
                f"{name} has results of another {key}: {shown(str(before.get(key)))}, not"
                f" {shown(str(value))}"
            )


def cut_errors(sink: FileSink, lines: int) -> None:
    """Cut off the errors of lines that have no results yet. It reads the file.

    Args:
        sink: the file of errors.
        lines: how many lines have results.

    Raises:
        WrongUse: it is no such file.
        OSError: it cannot be read.
    """
    name = f"the file of errors {shown(sink.name)}"
    if sink.is_stdout or not stat.S_ISREG(os.fstat(sink.descriptor).st_mode):
        return
    try:
        size = kept_errors(sink.descriptor, lines)
    except ValueError as error:
        raise WrongUse(f"{name} cannot be used: {error}") from error
    os.ftruncate(sink.descriptor, size)
    os.lseek(sink.descriptor, 0, os.SEEK_END)
