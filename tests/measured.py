"""What a script takes of the system, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["linux", "measure"]

linux = pytest.mark.skipif(sys.platform != "linux", reason="counts by Linux's /proc")


PRELUDE: Final = """
import gc, json, os, sys, threading
import trio
from wasmpool_host import *

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def held():
    gc.collect()
    with open("/proc/self/maps") as maps:
        count = sum(1 for _ in maps)
    return {
        "bytes": resident(),
        "maps": count,
        "files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
    }
"""


def measure(
    code: str, *args: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> dict[str, Any]:
    """Run a script that has ``held``; what it prints is JSON."""
    command = [sys.executable, "-c", PRELUDE + textwrap.dedent(code), *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=env)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result
