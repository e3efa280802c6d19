"""Components that are programs, by ``wasmpool exec`` and ``wasmpool run``."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.in_process import run_here

PROGRAM = Path(__file__).parents[1] / "guests" / "component_program.wasm"


def test_a_component_is_executed(tmp_path: Path) -> None:
    """With its arguments, its directories and its environment; its exit status is the command's."""
    (tmp_path / "file").write_text("content")
    assert run_here("exec", PROGRAM, "args", "x").stdout == "component_program.wasm\nargs\nx\n"
    ran = run_here("exec", "--dir", f"{tmp_path}:/", PROGRAM, "read", "file")
    assert ran.stdout == "content"
    assert run_here("exec", "--env", "A=b", PROGRAM, "env").stdout == "A=b\n"
    assert run_here("exec", PROGRAM, "fail").returncode == 1
    trapped = run_here("exec", PROGRAM, "trap")
    assert (trapped.returncode, trapped.stdout) == (134, "")
    assert "unreachable" in trapped.stderr


def test_a_component_reads_its_standard_input() -> None:
    """To its end."""
    assert run_here("exec", PROGRAM, "cat", text="one\ntwo\n").stdout == "one\ntwo\n"


def test_each_line_is_the_input_of_one_run() -> None:
    """As of a module that is a program."""
    ran = run_here("run", PROGRAM, "--", "cat", text="one\ntwo\n")
    assert ran.returncode == 0
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert rows == [{"data": "one\n"}, {"data": "two\n"}]


def test_a_component_that_is_no_program_is_refused(tmp_path: Path) -> None:
    """By both commands, in a sentence."""
    path = tmp_path / "empty.wat"
    path.write_text("(component)")
    for ran in (run_here("exec", path), run_here("run", path, text="x\n")):
        assert ran.returncode == 2
        assert "is no program: it exports no wasi:cli/run of version 0.2" in ran.stderr
