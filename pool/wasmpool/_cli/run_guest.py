"""The guest of a run: a plugin of either kind, or a program. It is read, made a job, and opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmpool import (
    AbiError,
    CompileError,
    ConfigureError,
    GuestExit,
    GuestMemoryError,
    GuestTrap,
    HttpPolicy,
    LinkError,
    PoolUnavailable,
    SnapshotError,
)
from wasmpool._batch.choice import NoSuchTool
from wasmpool._batch.guest import is_program_source, open_guest
from wasmpool._batch.job import Job
from wasmpool._extism.recognise import is_extism

from .limits import limits_of
from .program_module import all_args, module_unreadable, read_source
from .standard_streams import reason_of
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from wasmpool._batch.extism_tool import ExtismTool
    from wasmpool._batch.guest import PluginTool, Program
    from wasmpool_host.lowlevel import Source

    from .run_options import RunOptions

__all__ = ["job_of", "open_run_guest", "read_guest"]

EXAMPLE_TOOL: Final = "word_count"

UNUSABLE: Final = (
    AbiError, CompileError, GuestExit, GuestMemoryError, GuestTrap, LinkError, SnapshotError,
)  # fmt: skip
"""The errors of a file that cannot be used as a plugin, or be run."""

MEANINGLESS: Final = {
    "tool": "--tool: {} is a program, which has no tools",
    "max_uses": "--max-uses: {} is a program, which gets a new instance for each line",
    "pristine": "--pristine: {} is a program, which gets a new instance for each line",
    "allow_hosts": "--allow-host: {} is a program, which can reach no host",
    "credentials": "--credential: {} is a program, which takes no credentials",
}
"""What the options of a plugin would mean for a program."""


async def read_guest(options: RunOptions) -> Source:
    """Read the file of the plugin or the program.

    Raises:
        WrongUse: it cannot be read.
    """
    name = options.plugin_name
    try:
        return await read_source(options.path)
    except OSError as error:
        raise WrongUse(f"the plugin {name} cannot be read: {reason_of(error)}") from error
    except CompileError as error:
        raise WrongUse(f"{name} cannot be used as a plugin: {error}") from error


def job_of(options: RunOptions, source: Source) -> Job:
    """Return what is to be done with each line; its tool may not be chosen yet.

    Raises:
        WrongUse: an option does not fit the guest, or is out of its range.
    """
    is_program = is_program_source(source)
    if is_program:
        _refuse_options_of_plugins(options)
    elif options.args:
        raise WrongUse(
            f"{options.plugin_name} is a plugin, which takes no arguments: give the input with"
            " --input FILE"
        )
    tool = EXAMPLE_TOOL if options.tool is None and options.plugin is None else options.tool
    return Job(
        file=str(options.path),
        tool=tool,
        args=all_args(options.path, options.args) if is_program else (),
        size=options.size,
        tasks=options.tasks,
        limits=limits_of(timeout=options.timeout, memory=options.memory),
        max_uses=options.max_uses,
        pristine=options.pristine,
        http=HttpPolicy(allow_hosts=options.allow_hosts) if options.allow_hosts else None,
        credentials=options.credentials,
        numbered=options.numbered,
        retries=options.retries,
    )


def _refuse_options_of_plugins(options: RunOptions) -> None:
    for option, sentence in MEANINGLESS.items():
        if getattr(options, option):
            raise WrongUse(sentence.format(options.plugin_name))


async def open_run_guest(
    stack: AsyncExitStack, options: RunOptions, job: Job, source: Source
) -> PluginTool | ExtismTool | Program:
    """Open the plugin or the program, until the stack is closed, and choose the plugin's tool.

    Raises:
        WrongUse: it cannot be used, or has no such tool.
    """
    name = options.plugin_name
    opening = open_guest(job, source, choose="--tool")
    cannot = _cannot(source)
    try:
        return await stack.enter_async_context(opening)
    except (ConfigureError, NoSuchTool) as error:
        raise WrongUse(str(error)) from error
    except PoolUnavailable as error:  # users of the command do not know of the pool
        cause = error.__cause__ or error
        why = str(cause) or type(cause).__name__
        raise WrongUse(f"{name} {cannot}: {why}") from error
    except UNUSABLE as error:
        raise WrongUse(f"{name} {cannot}: {error}") from error
    except (OSError, ValueError) as error:
        if not is_extism(source):
            raise
        if isinstance(error, OSError):
            raise WrongUse(module_unreadable(name, error)) from error
        raise WrongUse(f"{name} {cannot}: {error}") from error  # of its manifest


def _cannot(source: Source) -> str:
    if is_program_source(source):
        return "cannot be run"
    return f"cannot be used as {'an Extism' if is_extism(source) else 'a'} plugin"
