"""``wasmpool run --threads``: as without it; with the GIL it is refused, and tried all the same."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from tests.cli.in_process import run_here

from wasmpool._cli import run_places
from wasmpool.example import PATH as EXAMPLE

PROGRAM = Path(__file__).parents[1] / "guests" / "c_program.wasm"


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a Python without the GIL."""
    monkeypatch.setattr(run_places, "has_gil", lambda: False)


@pytest.mark.usefixtures("allowed")
def test_the_output_is_that_of_one_thread(tmp_path: Path) -> None:
    """Byte for byte, bad lines, numbers and errors included."""
    lines = tmp_path / "lines"
    rows = [f"{number} to be or not" if number % 97 else "{broken" for number in range(1, 3001)]
    lines.write_bytes("\n".join(rows).encode() + b"\n\xff\n\n" + b"x" * 100_000)
    args = ("run", "--input", lines, "--number")
    one = run_here(*args, "--output", tmp_path / "one", "--errors", tmp_path / "one-errors")
    two = run_here(
        *args, "--output", tmp_path / "two", "--errors", tmp_path / "two-errors", "--threads", "2"
    )
    assert (one.returncode, two.returncode) == (1, 1)
    assert (tmp_path / "two").read_bytes() == (tmp_path / "one").read_bytes()
    assert (tmp_path / "two-errors").read_bytes() == (tmp_path / "one-errors").read_bytes()
    assert re.search("│ threads +│ +2 │", two.stderr)


@pytest.mark.usefixtures("allowed")
def test_a_program_runs_in_threads_too() -> None:
    """With its arguments, and 0 is as many as CPUs."""
    ran = run_here("run", PROGRAM, "--threads", "0", "--", "cat", text="one\ntwo")
    assert ran.stdout.splitlines() == ['{"data": "one\\n"}', '{"data": "two"}']
    cpus = len(os.sched_getaffinity(0))
    assert re.search(f"│ threads +│ +{cpus} │", ran.stderr)


@pytest.mark.usefixtures("allowed")
def test_a_pipe_that_is_closed_ends_all_threads(tmp_path: Path) -> None:
    """With the status of a signal, as with one."""
    read, write = os.pipe()
    os.close(read)
    try:
        ran = run_here("run", EXAMPLE, "--tool", "echo", "--threads", "2", "--output",
                       f"/proc/self/fd/{write}", text="x\n" * 5000)  # fmt: skip
    finally:
        os.close(write)
    assert ran.returncode == 128 + signal.SIGPIPE


def test_with_the_gil_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a sentence that names what does the same; the output stays as it was."""
    monkeypatch.setattr(run_places, "has_gil", lambda: True)
    output = tmp_path / "output"
    output.write_text("before")
    ran = run_here("run", "--threads", "3", "--output", output)
    assert ran.returncode == 2
    assert "Error: --threads 3 needs a free-threaded Python, " in ran.stderr
    assert ran.stderr.endswith(": use --processes 3\n")
    assert output.read_text() == "before"


def test_threads_and_processes_are_not_mixed() -> None:
    """It says so."""
    ran = run_here("run", "--threads", "2", "--processes", "2")
    assert ran.returncode == 2
    assert "--processes and --threads exclude each other" in ran.stderr
