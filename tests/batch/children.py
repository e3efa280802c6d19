"""The processes that this one has started."""

from __future__ import annotations

from pathlib import Path

__all__ = ["batch_processes", "is_running"]


def batch_processes(parent: str = "self") -> list[int]:
    """The processes of batches, of this process or of another one."""
    lists = [path.read_text() for path in Path("/proc").glob(f"{parent}/task/*/children")]
    return [
        int(child)
        for each in lists
        for child in each.split()
        if "wasmpool._batch.process" in _command(child)
    ]


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:  # it has ended
        return ""


def is_running(pid: int) -> bool:
    """True unless it has ended; one that nobody has waited for has ended, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
