"""``wasmpool inspect``: the report on a module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wasmpool import CompileError, DigestError
from wasmpool._extism.recognise import is_extism
from wasmpool._plugin.inspect import inspect_plugin

from .log import show_log
from .program_module import read_source
from .shown import shown, shown_whole
from .standard_streams import reason_of, write_out
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from wasmpool._extism.inspect import ExtismInspection
    from wasmpool._plugin.inspect import Inspection

__all__ = ["inspect_file"]


async def inspect_file(name: str) -> int:
    """Print the report on a file, and return the exit status.

    Raises:
        WrongUse: the file cannot be read, or is not a module.
        OutputFailed: standard output cannot be written.
    """
    show_log()
    try:
        report = await _inspect(Path(name))
    except (CompileError, DigestError) as error:
        raise WrongUse(str(error)) from error
    except OSError as error:
        raise WrongUse(f"{shown(name)} cannot be read: {reason_of(error)}") from error
    except ValueError as error:
        raise WrongUse(str(error)) from error  # of a manifest; it begins with the file
    write_out(f"{shown_whole(str(report))}\n")
    return 0 if report.meets_contract else 1


async def _inspect(path: Path) -> Inspection | ExtismInspection:
    source = await read_source(path)
    if not is_extism(source):
        return await inspect_plugin(source)
    from wasmpool._extism.inspect import inspect_extism

    return await inspect_extism(source)
