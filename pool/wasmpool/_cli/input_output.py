"""The input and the output of a run: chosen, opened, and checked against each other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .file_identity import identity_of, shared_file
from .preview import Preview
from .shown import shown
from .standard_streams import STDERR, STDIN, reason_of
from .streams import STDIN_NAME, SampleSource, open_sink, open_source
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from .run_options import RunOptions
    from .streams import FileSink, InputSource, OutputSink

__all__ = ["open_input", "open_output"]


async def open_input(stack: AsyncExitStack, options: RunOptions) -> InputSource:
    """Open the input, or its default.

    Raises:
        WrongUse: there is no input, or it cannot be opened.
    """
    if options.reads_sample:
        return SampleSource()
    if options.input is None and os.isatty(STDIN):
        raise WrongUse("there is no input: give --input FILE, or --input - to type the lines")
    path = "-" if options.input is None else options.input
    try:
        return await stack.enter_async_context(open_source(path))
    except OSError as error:
        name = _input_name(STDIN_NAME if path == "-" else path)
        raise WrongUse(f"{name} cannot be read: {reason_of(error)}") from error


async def open_output(
    stack: AsyncExitStack, options: RunOptions, source: InputSource
) -> OutputSink:
    """Open the output, and empty it; if this raises, the file is unchanged.

    Raises:
        WrongUse: it cannot be opened, or is a file that the run reads or writes already.
    """
    path = "-" if options.output is None else options.output
    name = "standard output" if path == "-" else f"the output {shown(path)}"
    try:
        sink = await stack.enter_async_context(open_sink(path))
        _refuse_shared_file(options, source, sink, name)
        sink.empty()
    except OSError as error:
        raise WrongUse(f"{name} cannot be written: {reason_of(error)}") from error
    shows_few = options.reads_sample and options.output is None and sink.is_terminal
    return Preview(sink) if shows_few else sink


def _refuse_shared_file(
    options: RunOptions, source: InputSource, sink: FileSink, output: str
) -> None:
    """Refuse an output that is also read, or that messages are written to."""
    plugin = f"the plugin {options.plugin_name}"
    messages = identity_of(STDERR)
    read = {_input_name(source.name): source.identity, plugin: identity_of(options.path)}
    written = {output: sink.identity, "standard error": messages}
    if shared := shared_file(read, written):
        one, other = shared
        raise WrongUse(
            f"{one} and {other} are the same file, which would be overwritten; choose another"
        )
    if sink.identity is not None and sink.identity == messages and not sink.is_stdout:
        raise WrongUse(
            f"{output} and standard error are the same file, where messages and results would"
            " overwrite each other; choose another"
        )


def _input_name(name: str) -> str:
    return name if name == STDIN_NAME else f"the input {shown(name)}"
