"""The guest of a run, by what its file is: a plugin, or a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmpool import CompileError
from wasmpool._plugin.module_kind import is_program

from .program_module import read_source
from .run_plugin import open_run_plugin
from .run_program import open_run_program
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from wasmpool_host.lowlevel import Source

    from .run_options import RunOptions
    from .run_plugin import PluginTool
    from .run_program import Program

__all__ = ["open_run_guest"]


async def open_run_guest(stack: AsyncExitStack, options: RunOptions) -> PluginTool | Program:
    """Open the plugin or the program, until the stack is closed.

    Raises:
        WrongUse: the file cannot be read or used, or an option does not fit it.
    """
    source = await _program(options)
    if source is not None:
        return await open_run_program(stack, options, source)
    tool = await open_run_plugin(stack, options)
    if options.args:
        raise WrongUse(
            f"{options.plugin_name} is a plugin, which takes no arguments: give the input with"
            " --input FILE"
        )
    return tool


async def _program(options: RunOptions) -> Source | None:
    """Return the source of a program, and None for a file that can at most be a plugin."""
    try:
        source = await read_source(options.path)
    except (OSError, CompileError):
        return None  # opening it as a plugin says what is wrong with it
    if source.is_component:  # no plugin is one
        return source
    outline = source.outline
    return source if outline is not None and is_program(outline.exports) else None
