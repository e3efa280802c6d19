"""Python processes of our own: how they are started, and how they have ended."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["kill", "python_command"]


def python_command(module: str, args: Sequence[str]) -> list[str]:
    """Return the command of a process that calls the ``main`` of a module, with arguments.

    It finds its modules where this process has found them, as in `multiprocessing`.
    """
    program = (
        "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1));"
        f" from {module} import main; main()"
    )
    return [sys.executable, "-P", "-c", program, json.dumps(sys.path), *args]


async def kill(process: trio.Process) -> None:
    """Kill a process, where a cancel ends it: for `trio.run_process`."""
    process.kill()
    await trio.lowlevel.checkpoint()
