"""The two ends that a job asks for: chosen, opened, and held against each other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .identity import identity_of, shared_file
from .preview import Preview
from .shown import shown
from .standard import STDERR, STDIN, reason_of
from .streams import STDIN_NAME, SampleSource, open_sink, open_source
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from .job import Job
    from .streams import FileSink, Sink, Source

__all__ = ["open_input", "open_output"]


async def open_input(stack: AsyncExitStack, job: Job) -> Source:
    """The input that the job names, or what stands for it.

    Raises:
        WrongUse: there is none, or it cannot be opened.
    """
    if job.reads_sample:
        return SampleSource()
    if job.input is None and os.isatty(STDIN):
        raise WrongUse("there is no input: give --input FILE, or --input - to type the lines")
    path = "-" if job.input is None else job.input
    try:
        return await stack.enter_async_context(open_source(path))
    except OSError as error:
        name = _input_name(STDIN_NAME if path == "-" else path)
        raise WrongUse(f"{name} cannot be read: {reason_of(error)}") from error


async def open_output(stack: AsyncExitStack, job: Job, source: Source) -> Sink:
    """The output that the job names, emptied; nothing is lost where this raises.

    Raises:
        WrongUse: it cannot be opened, or is a file that is read or written already.
    """
    path = "-" if job.output is None else job.output
    name = "standard output" if path == "-" else f"the output {shown(path)}"
    try:
        sink = await stack.enter_async_context(open_sink(path))
        _refuse_shared_file(job, source, sink, name)
        sink.empty()
    except OSError as error:
        raise WrongUse(f"{name} cannot be written: {reason_of(error)}") from error
    shows_few = job.reads_sample and job.output is None and sink.is_terminal
    return Preview(sink) if shows_few else sink


def _refuse_shared_file(job: Job, source: Source, sink: FileSink, output: str) -> None:
    """Refuse to write to what is read, and to write two things over each other."""
    plugin = f"the plugin {job.plugin_name}"
    messages = identity_of(STDERR)
    read = {_input_name(source.name): source.identity, plugin: identity_of(job.path)}
    written = {output: sink.identity, "standard error": messages}
    if shared := shared_file(read, written):
        one, other = shared
        raise WrongUse(f"{one} and {other} are the same file, which would be lost; choose another")
    if sink.identity is not None and sink.identity == messages and not sink.is_stdout:
        raise WrongUse(
            f"{output} and standard error are the same file, where messages and results would"
            " overwrite each other; choose another"
        )


def _input_name(name: str) -> str:
    return name if name == STDIN_NAME else f"the input {shown(name)}"
