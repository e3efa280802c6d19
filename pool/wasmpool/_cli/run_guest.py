"""The guest of a run, by what its file is: a plugin, an Extism plugin, or a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmpool import CompileError
from wasmpool._extism.recognise import is_extism
from wasmpool._plugin.module_kind import is_program

from .program_module import read_source
from .run_plugin import open_run_plugin
from .run_program import open_run_program
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from wasmpool_host.lowlevel import Source

    from .run_extism import ExtismTool
    from .run_options import RunOptions
    from .run_plugin import PluginTool
    from .run_program import Program

__all__ = ["open_run_guest"]


async def open_run_guest(
    stack: AsyncExitStack, options: RunOptions
) -> PluginTool | ExtismTool | Program:
    """Open the plugin or the program, until the stack is closed.

    Raises:
        WrongUse: the file cannot be read or used, or an option does not fit it.
    """
    source = await _read(options)
    if source is not None and not is_extism(source) and _is_program(source):
        return await open_run_program(stack, options, source)
    tool: PluginTool | ExtismTool
    if source is not None and is_extism(source):
        from .run_extism import open_run_extism

        tool = await open_run_extism(stack, options, source)
    else:
        tool = await open_run_plugin(stack, options)
    if options.args:
        raise WrongUse(
            f"{options.plugin_name} is a plugin, which takes no arguments: give the input with"
            " --input FILE"
        )
    return tool


async def _read(options: RunOptions) -> Source | None:
    """Return what the file has, and None for one that can at most be a plugin."""
    try:
        return await read_source(options.path)
    except (OSError, CompileError):
        return None  # opening it as a plugin says what is wrong with it


def _is_program(source: Source) -> bool:
    return source.outline is not None and is_program(source.outline.exports)
