"""``wasmpool run`` with a program: one run for each line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.cli.in_process import run_here

from wasmpool._batch import guest
from wasmpool.example import PATH as EXAMPLE

PROGRAM = Path(__file__).parents[1] / "guests" / "c_program.wasm"
PROBER = PROGRAM.with_name("c_prober.wasm")


def rows(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_each_line_is_the_input_of_one_run() -> None:
    """With its ending, in the order of the input; each run has an instance of its own."""
    lines = ["one\n", "\n", "two\r\n", "näkki"]
    ran = run_here("run", PROGRAM, "--", "cat", text="".join(lines))
    assert ran.returncode == 0
    assert rows(ran.stdout) == [{"data": line} for line in lines]
    assert ran.stderr.startswith("wasmpool run: c_program.wasm\n")
    assert re.search(r"│ +finished +│ +4 │", ran.stderr)


def test_what_follows_two_hyphens_is_the_programs() -> None:
    """Its own name comes first, and options may be among them."""
    ran = run_here("run", PROGRAM, "--size", "1", "--", "args", "--size", "x", text="\n")
    assert rows(ran.stdout) == [{"data": "c_program.wasm\nargs\n--size\nx\n"}]


def test_runs_see_nothing_of_each_other() -> None:
    """What one has left in its memory is not there for the next."""
    marks = "".join(f"MARK{number}\n" for number in range(5))
    ran = run_here("run", PROBER, "--size", "1", "--", "return", text=marks)
    for row in rows(ran.stdout):
        assert {"memory 0", "stack 0", "grown 0", "marks 0"} <= set(row["data"].splitlines())
    assert [row["data"].count("MARK") for row in rows(ran.stdout)] == [2] * 5


def test_a_run_that_fails_is_an_error_with_its_last_words() -> None:
    """By a status or a trap; the command's own status is 1."""
    ran = run_here("run", PROGRAM, "--", "nonsense", text="\n")
    (row,) = rows(ran.stdout)
    assert ran.returncode == 1
    assert row == {
        "error": "the guest exited with status 2\nthe guest's stderr ended with\n  wrong use"
    }
    (row,) = rows(run_here("run", PROGRAM, "--", "panic", "here", text="\n").stdout)
    assert row["error"].startswith("c_program._start trapped: ")
    assert row["error"].endswith("\nthe guest's stderr ended with\n  panic: here")


def test_a_run_that_takes_too_long_is_an_error() -> None:
    """`--timeout` bounds each run."""
    ran = run_here("run", PROGRAM, "--timeout", "0.1", "--", "spin", text="\n")
    assert rows(ran.stdout) == [
        {"error": "c_program._start took longer than limits.call_seconds=0.1"}
    ]
    assert ran.returncode == 1


def test_output_that_a_row_cannot_hold_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that are not UTF-8, or too many; the lines around it are not affected."""
    monkeypatch.setattr(guest, "LONGEST_LINE", 10)
    lines = tmp_path / "lines"
    lines.write_bytes(b"123456789\na\xff\n1234567890\n\n")
    ran = run_here("run", PROGRAM, "--input", lines, "--", "cat")
    assert ran.returncode == 1
    assert rows(ran.stdout) == [
        {"data": "123456789\n"},
        {"error": "the output is not UTF-8: byte 0xff at 1"},
        {"error": "the output is too long: above the limit of 10 bytes"},
        {"data": "\n"},
    ]


def test_what_a_program_says_on_standard_error_is_logged() -> None:
    """Where it succeeds; escaped, as all that comes from a guest."""
    ran = run_here("run", PROGRAM, "--", "say", "out", "a\x1b\nb", text="\n")
    assert rows(ran.stdout) == [{"data": "out"}]
    start = "warning: wasmpool.guest.stderr: "
    assert ran.stderr.startswith(f"{start}a\\x1b\n{start}b\n")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--tool", "x"], "--tool: program.wasm is a program, which has no tools"),
        (["--pristine"], "--pristine: program.wasm is a program, which gets a new instance"),
        (["--max-uses", "1"], "--max-uses: program.wasm is a program, which gets a new instance"),
        (["--allow-host", "a.b"], "--allow-host: program.wasm is a program, which can reach no"),
        (["--credential", "a=b"], "--credential: program.wasm is a program, which takes no"),
        (["--memory", "64KiB"], "program.wasm cannot be run: module 'program': its memory starts"),
        (["--timeout", "inf"], "--timeout: Limits.call_seconds must be above 0"),
        (["--output", "program.wasm"], "program.wasm are the same file"),
        (["--", "\udce9"], "is not UTF-8"),
    ],
)
def test_what_means_nothing_for_a_program_is_refused(
    args: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sentence that names the option; status 2."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "program.wasm").write_bytes(PROGRAM.read_bytes())
    ran = run_here("run", "program.wasm", *args, text="\n")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert says in ran.stderr.splitlines()[-1]
    assert (tmp_path / "program.wasm").read_bytes() == PROGRAM.read_bytes()


def test_a_program_that_cannot_start_says_why(tmp_path: Path) -> None:
    """In words of the guest's trouble, not of the pool's."""
    program = tmp_path / "guest.wat"
    program.write_text('(module (func $f unreachable) (start $f) (func (export "_start")))')
    ran = run_here("run", program, text="\n")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "guest.wat cannot be run: the start of module 'guest' trapped" in ran.stderr


def test_arguments_of_a_plugin_are_refused() -> None:
    """It says how to give the input."""
    ran = run_here("run", EXAMPLE, "--tool", "echo", "lines.txt")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "is a plugin, which takes no arguments: give the input with --input FILE" in ran.stderr
