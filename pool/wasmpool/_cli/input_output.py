"""The input and the output of a run: chosen, opened, and checked against each other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .file_identity import identity_of, shared_file
from .go_on import record_of
from .shown import shown
from .standard_streams import STDERR, STDIN, reason_of
from .streams import STDIN_NAME, SampleSource, open_sink, open_source
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AsyncExitStack

    from .file_identity import FileIdentity
    from .run_options import RunOptions
    from .streams import FileSink, InputSource

__all__ = ["cannot_be_written", "open_input", "open_output"]


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
) -> tuple[FileSink, FileSink | None]:
    """Open the output, and the file of errors if there is one; their content stays.

    Raises:
        WrongUse: one cannot be opened, or is a file that the run reads or writes already.
    """
    goes_on = options.resume is not None
    chosen = options.output if options.resume is None else options.resume
    path = "-" if chosen is None else chosen
    name = "standard output" if path == "-" else f"the output {shown(path)}"
    sink = await _open(stack, path, name, goes_on=goes_on)
    written = {name: sink}
    errors = None
    if options.errors is not None:
        name = f"the file of errors {shown(options.errors)}"
        written[name] = errors = await _open(stack, options.errors, name, goes_on=goes_on)
    _refuse_shared_files(options, source, written)
    return sink, errors


async def _open(stack: AsyncExitStack, path: str, name: str, *, goes_on: bool) -> FileSink:
    try:
        return await stack.enter_async_context(open_sink(path, goes_on=goes_on))
    except OSError as error:
        raise cannot_be_written(name, error) from error


def cannot_be_written(name: str, error: OSError) -> WrongUse:
    """Return the error for an output that fails before the run begins."""
    return WrongUse(f"{name} cannot be written: {reason_of(error)}")


def _refuse_shared_files(
    options: RunOptions, source: InputSource, sinks: Mapping[str, FileSink]
) -> None:
    """Refuse an output that is also read, or that something else is written to."""
    plugin = f"the plugin {options.plugin_name}"
    messages = identity_of(STDERR)
    read = {_input_name(source.name): source.identity, plugin: identity_of(options.path)}
    written = {name: sink.identity for name, sink in sinks.items()}
    if options.resume is not None:
        record = record_of(options.resume)
        written[f"the record {shown(record)}"] = identity_of(record)
    if shared := shared_file(read, {**written, "standard error": messages}) or _same(written):
        one, other = shared
        raise WrongUse(
            f"{one} and {other} are the same file, which would be overwritten; choose another"
        )
    for name, sink in sinks.items():
        if sink.identity is not None and sink.identity == messages and not sink.is_stdout:
            raise WrongUse(
                f"{name} and standard error are the same file, where messages and results would"
                " overwrite each other; choose another"
            )
    if sum(sink.is_stdout for sink in sinks.values()) > 1:
        raise WrongUse("results and errors both go to standard output; choose a file for one")


def _same(written: Mapping[str, FileIdentity | None]) -> tuple[str, str] | None:
    """Return the first two names of one file."""
    for number, (name, identity) in enumerate(written.items(), 1):
        if shared := shared_file({name: identity}, dict(list(written.items())[number:])):
            return shared
    return None


def _input_name(name: str) -> str:
    return name if name == STDIN_NAME else f"the input {shown(name)}"
