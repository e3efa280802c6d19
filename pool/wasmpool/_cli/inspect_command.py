"""``wasmpool inspect``: the report on a module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from wasmpool import CompileError, Component, ComponentWorld, DigestError
from wasmpool._extism.recognise import is_extism
from wasmpool._plugin.inspect import inspect_plugin

from .log import show_log
from .program_module import module_unreadable, read_source
from .shown import shown, shown_whole
from .standard_streams import reason_of, write_out
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from wasmpool._extism.inspect import ExtismInspection
    from wasmpool._plugin.inspect import Inspection
    from wasmpool_host.lowlevel import Source

__all__ = ["inspect_file"]


_COMPONENT: Final = "Contract: not a plugin, but a component"
_PROGRAM: Final = "wasi:cli/run@"


async def inspect_file(name: str) -> int:
    """Print the report on a file, and return the exit status.

    Raises:
        WrongUse: the file cannot be read, or is neither a module nor a component.
        OutputFailed: standard output cannot be written.
    """
    show_log()
    try:
        source = await _read(name)
        if source.is_component:
            write_out(f"{shown_whole(_component_text(await Component.inspect(source)))}\n")
            return 1
        report = await _inspect(source, name)
    except (CompileError, DigestError) as error:
        raise WrongUse(str(error)) from error
    except ValueError as error:
        raise WrongUse(str(error)) from error  # of a manifest; it begins with the file
    write_out(f"{shown_whole(str(report))}\n")
    return 0 if report.meets_contract else 1


async def _read(name: str) -> Source:
    try:
        return await read_source(Path(name))
    except OSError as error:
        raise WrongUse(f"{shown(name)} cannot be read: {reason_of(error)}") from error


def _component_text(world: ComponentWorld) -> str:
    """The report on a component, which is no plugin."""
    parts = [str(world), _COMPONENT]
    if any(name.startswith(_PROGRAM) for name in world.exports) and not world.missing:
        parts[-1] += " that is a program: wasmpool exec FILE [ARG]... runs it"
    return "\n\n".join(parts)


async def _inspect(source: Source, name: str) -> Inspection | ExtismInspection:
    if not is_extism(source):
        return await inspect_plugin(source)
    from wasmpool._extism.inspect import inspect_extism

    try:
        return await inspect_extism(source)
    except OSError as error:
        raise WrongUse(module_unreadable(shown(name), error)) from error
