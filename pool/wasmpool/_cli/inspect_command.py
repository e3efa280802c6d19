"""``wasmpool inspect``: the report on a module."""

from __future__ import annotations

from pathlib import Path

from wasmpool import CompileError
from wasmpool._plugin.inspect import inspect_plugin

from .log import show_log
from .shown import shown, shown_whole
from .standard_streams import reason_of, write_out
from .wrong_use import WrongUse

__all__ = ["inspect_file"]


async def inspect_file(name: str) -> int:
    """Print the report on a file, and return the exit status.

    Raises:
        WrongUse: the file cannot be read, or is not a module.
        OutputFailed: standard output cannot be written.
    """
    show_log()
    try:
        report = await inspect_plugin(Path(name))
    except CompileError as error:
        raise WrongUse(str(error)) from error
    except OSError as error:
        raise WrongUse(f"{shown(name)} cannot be read: {reason_of(error)}") from error
    write_out(f"{shown_whole(str(report))}\n")
    return 0 if report.meets_contract else 1
