"""``wasmpool inspect``: the report on a module, as an exit status and a text."""

from __future__ import annotations

import sys
from pathlib import Path

from wasmpool import CompileError
from wasmpool._inspect import inspect_plugin

__all__ = ["inspect_file"]


async def inspect_file(name: str) -> int:
    """Print the report on a file; the exit status of the command."""
    try:
        report = await inspect_plugin(Path(name))
    except CompileError as error:
        return _wrong(str(error))
    except OSError as error:
        return _wrong(f"{name} cannot be read: {error.strerror}")
    sys.stdout.write(f"{report}\n")
    return 0 if report.meets_contract else 1


def _wrong(message: str) -> int:
    sys.stderr.write(f"Error: {message}\n")
    return 2
