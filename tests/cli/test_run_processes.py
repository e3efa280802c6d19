"""``wasmpool run --processes``: as without it, however processes and streams end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.batch.children import batch_processes, is_running
from tests.cli.in_fork import SECONDS, started
from tests.cli.in_process import run_here

from wasmpool.example import PATH as EXAMPLE

if TYPE_CHECKING:
    from tests.cli.in_fork import Started

PROGRAM = Path(__file__).parents[1] / "guests" / "c_program.wasm"
NAP = ("run", EXAMPLE, "--tool", "nap", "--processes", "2", "--size", "1")


def processes_of(process: Started, count: int = 2) -> list[int]:
    """Wait until there are so many."""
    deadline = time.monotonic() + SECONDS
    while len(found := batch_processes(str(process._process.pid))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def wait_for_end(*pids: int) -> None:
    deadline = time.monotonic() + SECONDS
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_output_is_that_of_one_process(tmp_path: Path) -> None:
    """Byte for byte, bad lines, numbers and errors included."""
    lines = tmp_path / "lines"
    rows = [f"{number} to be or not" if number % 97 else "{broken" for number in range(1, 3001)]
    lines.write_bytes("\n".join(rows).encode() + b"\n\xff\n\n" + b"x" * 100_000)
    args = ("run", "--input", lines, "--number")
    one = run_here(*args, "--output", tmp_path / "one", "--errors", tmp_path / "one-errors")
    two = run_here(
        *args, "--output", tmp_path / "two", "--errors", tmp_path / "two-errors", "--processes", "2"
    )
    assert (one.returncode, two.returncode) == (1, 1)
    assert (tmp_path / "two").read_bytes() == (tmp_path / "one").read_bytes()
    assert (tmp_path / "two-errors").read_bytes() == (tmp_path / "one-errors").read_bytes()
    assert re.search("│ processes +│ +2 │", two.stderr)


@pytest.mark.slow
def test_a_program_runs_in_processes_too() -> None:
    """With its arguments, and 0 is as many as CPUs."""
    ran = run_here("run", PROGRAM, "--processes", "0", "--", "cat", text="one\ntwo")
    assert [json.loads(row) for row in ran.stdout.splitlines()] == [
        {"data": "one\n"},
        {"data": "two"},
    ]
    cpus = len(os.sched_getaffinity(0))
    assert re.search(f"│ processes +│ +{cpus} │", ran.stderr)


def test_what_is_wrong_is_said_before_a_process_starts(tmp_path: Path) -> None:
    """In the words of one process; the output stays as it was."""
    output = tmp_path / "output"
    output.write_text("before")
    for args, says in (
        ([EXAMPLE], "has 10 tools, choose one with --tool"),
        ([tmp_path / "none.wasm"], "cannot be read: No such file"),
    ):
        ran = run_here("run", *args, "--processes", "2", "--output", output, text="\n")
        assert ran.returncode == 2
        assert says in ran.stderr
        assert output.read_text() == "before"


def test_ctrl_c_ends_all_and_writes_what_is_done() -> None:
    """The rows before the first that is not; status 130, and no process is left."""
    with started(*NAP, "--input", "-") as process:
        process.send(b'{"ms": 1}\n')
        first = process.stdout.readline()
        process.send(b'{"ms": 600000}\n{"ms": 1}\n')
        pids = processes_of(process)
        process.send_signal(signal.SIGINT)
        status, out, err = process.ended()
    assert "data" in json.loads(first)
    assert (status, out) == (130, b"")
    assert b"interrupted" in err
    wait_for_end(*pids)


def test_a_reader_that_has_gone_ends_all() -> None:
    """As for one process: status 141."""
    with started(*NAP, "--input", "-") as process:
        process.send(b'{"ms": 1}\n')
        process.stdout.readline()
        pids = processes_of(process)
        process.stdout.close()
        process.send(b'{"ms": 1}\n')
        assert process.wait() == 141
    wait_for_end(*pids)


@pytest.mark.slow
def test_memory_is_bounded_in_each_process(tmp_path: Path) -> None:
    """Five times the input takes no more of it, in the command and in its processes."""
    peaks: list[list[int]] = []
    for count in (20_000, 100_000):
        lines = tmp_path / f"lines{count}"
        lines.write_text(("word " * 100 + "\n") * count)
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "wasmpool",
            "run",
            EXAMPLE,
            "--tool",
            "word_count",
        ]
        command += ["--input", lines, "--output", tmp_path / "out", "--processes", "2"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            peak: dict[int, int] = {}
            while process.poll() is None:
                for pid in (process.pid, *batch_processes(str(process.pid))):
                    peak[pid] = max(_peak_memory(pid), peak.get(pid, 0))
                time.sleep(0.05)
        peaks.append(sorted(peak.values()))
    print(peaks)
    assert len(peaks[0]) == len(peaks[1]) == 3
    for small, large in zip(*peaks, strict=True):
        assert large < small + (40 << 20)


def _peak_memory(pid: int) -> int:
    """The most memory that a process has had, in bytes; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(found[0]) * 1024 if found else 0
