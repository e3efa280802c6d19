"""``wasmpool exec``: one run of a program, with the standard streams of this process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from wasmpool import (
    CallTimeout,
    CompileError,
    GuestError,
    GuestExit,
    GuestTrap,
)
from wasmpool._plugin.module_kind import has_start, looks_like_plugin
from wasmpool_host import Preopen

from .limits import limits_of
from .log import show_log
from .program_module import all_args, compile_program, read_source
from .program_streams import ProgramInput, ProgramOutput
from .run_stop import RunStop
from .shown import shown, shown_lines
from .standard_streams import FAILED, STDERR, STDOUT, TRAPPED, is_closed, reason_of, write_error
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from wasmpool import Component, Instance, Module, RunOptions
    from wasmpool_host.lowlevel import Source

    from .exec_options import ExecOptions

__all__ = ["exec_program"]


async def exec_program(options: ExecOptions) -> int:
    """Run the program, and return the exit status.

    Raises:
        WrongUse: it cannot be run, or an option cannot be met.
        OutputFailed: standard error cannot be written.
    """
    show_log()
    stop = RunStop()
    status, message = FAILED, None
    with stop.on_interrupt(), stop.scope:
        world = _world(options, stop)
        module = await _compile(options)
        status, message = await _run(module, all_args(options.path, options.args), world)
    if stop.status is not None:
        status, message = stop.status, stop.message
    if message is not None:
        write_error(f"Error: {shown_lines(message)}\n")
    return status


async def _run(
    module: Module | Component, args: tuple[str, ...], world: RunOptions
) -> tuple[int, str | None]:
    """Run it once; return the exit status, and what is wrong if the program did not end itself."""
    try:
        async with _instance(module) as instance:
            done = await instance.run(args, **world)
    except GuestExit as error:  # in its start function, before it was run
        return exit_status(error.status), None
    except GuestTrap as error:
        return TRAPPED, str(error)
    except CallTimeout:
        return FAILED, f"{module} took longer than --timeout={module.limits.call_seconds} seconds"
    except (GuestError, MemoryError) as error:
        return FAILED, str(error)
    except OSError as error:  # a directory was moved after it was opened
        return FAILED, f"a directory cannot be opened: {reason_of(error)}"
    return exit_status(done.returncode), None


def exit_status(returncode: int) -> int:
    """Return what the process exits with: the low eight bits, but 0 for success only."""
    return returncode & 0xFF or int(returncode != 0)


def _world(options: ExecOptions, stop: RunStop) -> RunOptions:
    return {
        "stdin": ProgramInput(),
        "stdout": _output("standard output", STDOUT, stop),
        "stderr": _output("standard error", STDERR, stop),
        "env": options.env,
        "preopens": _preopens(options),
    }


def _preopens(options: ExecOptions) -> dict[str, Preopen]:
    preopens = {}
    for guest, directory in options.directories.items():
        try:
            preopens[guest] = Preopen(directory.path, writable=directory.writable)
        except ValueError as error:
            why = error.__cause__
            reason = reason_of(why) if isinstance(why, OSError) else str(error)
            raise WrongUse(
                f"the directory {shown(directory.path)} cannot be opened: {reason}"
            ) from error
    return preopens


async def _compile(options: ExecOptions) -> Module | Component:
    limits = limits_of(timeout=options.timeout, memory=options.memory, stack=options.stack)
    if options.cache == "":
        raise WrongUse("--cache: '' is no directory")  # it would be the current one
    try:
        source = await read_source(options.path)
    except OSError as error:
        raise WrongUse(f"the program {options.name} cannot be read: {reason_of(error)}") from error
    except CompileError as error:
        raise WrongUse(f"{options.name} cannot be run: {error}") from error
    _refuse_other_modules(options, source)
    return await compile_program(source, options.name, limits, options.cache)


def _refuse_other_modules(options: ExecOptions, source: Source) -> None:
    if source.outline is None or has_start(source.outline.exports):
        return  # the compiler says what is wrong with a file that is no module
    why = f"{options.name} is no program: it exports no function _start"
    if looks_like_plugin(source.outline.exports):
        why += "; it looks like a plugin, whose tools `wasmpool run` calls"
    raise WrongUse(why)


@asynccontextmanager
async def _instance(module: Module | Component) -> AsyncGenerator[Instance]:
    instance = await module.instantiate()
    try:
        yield instance
    finally:
        with trio.CancelScope(shield=True):
            await instance.aclose()


def _output(name: str, descriptor: int, stop: RunStop) -> Any:
    """Return where the program's output goes; nowhere if nobody asked for messages."""
    if descriptor == STDERR and is_closed(STDERR):
        return None
    return ProgramOutput(name, descriptor, stop)
