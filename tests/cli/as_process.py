"""The command in a process of its own, whose standard input stays open."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["COMMAND", "SECONDS", "started"]

COMMAND = [sys.executable, "-W", "error", "-m", "wasmpool"]

SECONDS = 60
"""More than any of this takes on a slow machine; a hang, not slowness, fails a test."""


@contextlib.contextmanager
def started(*args: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the command with pipes as its streams; it is killed at the end of the block."""
    with subprocess.Popen(
        [*COMMAND, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        hang = threading.Timer(SECONDS, process.kill)
        hang.start()
        try:
            yield process
        finally:
            hang.cancel()
            process.kill()
