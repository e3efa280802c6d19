"""Reading and compiling the file of a program."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import trio

from wasmpool import CompileError, Component, GuestMemoryError, LinkError, Module
from wasmpool_host.lowlevel import Source

from .shown import shown
from .standard_streams import reason_of
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from wasmpool import Limits

__all__ = ["all_args", "compile_program", "module_unreadable", "read_source"]

CANNOT_RUN: Final = (CompileError, LinkError, GuestMemoryError)
"""The errors of a file that cannot be run here."""


async def read_source(path: Path) -> Source:
    """Read a file, in a thread that a cancel leaves behind.

    Raises:
        CompileError: it is no module in the text format, or is too large.
        OSError: it cannot be read.
    """
    return await trio.to_thread.run_sync(Source.read, path, abandon_on_cancel=True)


def module_unreadable(manifest: str, error: OSError) -> str:
    """Return the sentence for a module of a manifest, named as in messages, that cannot be read."""
    file = "a module" if error.filename is None else f"the module {shown(str(error.filename))}"
    return f"{file} of {manifest} cannot be read: {reason_of(error)}"


async def compile_program(
    source: Source, name: str, limits: Limits, cache: str | None = None
) -> Module | Component:
    """Compile a program, which messages call `name`.

    Raises:
        WrongUse: it cannot be run here, or the cache cannot be used.
    """
    try:
        if not source.is_component:
            return await Module.compile(source, limits=limits, cache=cache)
        component = await Component.compile(source, limits=limits, cache=cache)
    except ValueError as error:
        raise WrongUse(f"--cache: {error}") from error
    except CANNOT_RUN as error:
        raise WrongUse(f"{name} cannot be run: {error}") from error
    if not component.is_program:
        raise WrongUse(f"{name} is no program: it exports no wasi:cli/run of version 0.2")
    return component


def all_args(path: Path, args: Iterable[str]) -> tuple[str, ...]:
    """Return all arguments of a program: the name of its file comes first."""
    # A name that is not UTF-8 is no reason not to run it.
    return (os.fsencode(path.name).decode(errors="replace"), *args)
