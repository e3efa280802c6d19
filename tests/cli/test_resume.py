"""``wasmpool run --resume``: however a run ended, the next one goes on."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tests.cli.in_fork import started
from tests.cli.in_process import run_here

from wasmpool._cli.resume import ResumedInput, RunRecord
from wasmpool._cli.streams import SampleSource
from wasmpool.example import PATH as EXAMPLE

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

LINES = [f"line {number}" + " x" * (number % 7) for number in range(1, 41)]
LINES[4] = "{broken"
LINES[30] = "{broken"
BROKEN = b'{"error": "the line starts with { and is not a JSON object: '


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines"
    path.write_text("\n".join(LINES) + "\n")
    return path


@pytest.fixture
def whole(lines: Path) -> bytes:
    """What one undisturbed run writes."""
    path = lines.with_name("whole")
    assert run_here("run", "--input", lines, "--output", path).returncode == 1
    return path.read_bytes()


def resumed(lines: Path, *args: str | Path, text: str | None = None) -> CompletedProcess[str]:
    source: list[str | Path] = ["--input", "-" if text is not None else lines]
    return run_here("run", *source, "--resume", lines.with_name("out"), *args, text=text)


def shown(ran: CompletedProcess[str], what: str) -> int:
    """A number of the table; 0 if it is not there."""
    found = re.search(rf"│ {what} +│ +(\d+) │", ran.stderr)
    return int(found[1]) if found else 0


def cut(lines: Path, size: int) -> None:
    """Leave of a whole run what a killed one might have."""
    os.truncate(lines.with_name("out"), size)


def test_a_run_from_the_start_is_as_any_other(lines: Path, whole: bytes) -> None:
    """The record beside the output is all that is new."""
    assert resumed(lines).returncode == 1
    assert lines.with_name("out").read_bytes() == whole
    record = json.loads(lines.with_name("out.resume").read_text())
    assert record["size"] == lines.stat().st_size
    assert sorted(path.name for path in lines.parent.iterdir()) == [
        "lines", "out", "out.resume", "whole",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, 100, 500, 10**9])
def test_what_is_missing_is_done_and_nothing_else(lines: Path, whole: bytes, size: int) -> None:
    """Wherever it was cut: half a row is done again, whole ones stay as they are."""
    resumed(lines)
    kept = whole[:size].count(b"\n")
    mark = b'{"data": "kept"}\n' * kept  # not what the line's answer is
    (lines.with_name("out")).write_bytes(mark + whole[:size].rpartition(b"\n")[2])
    ran = resumed(lines)
    rows = lines.with_name("out").read_bytes().splitlines(keepends=True)
    assert rows == [*mark.splitlines(keepends=True), *whole.splitlines(keepends=True)[kept:]]
    assert ran.returncode == (1 if kept < 31 else 0)
    assert shown(ran, "calls") == 40 - kept
    assert shown(ran, "lines of earlier runs") == kept


def test_failures_of_earlier_runs_count_for_the_status(lines: Path, whole: bytes) -> None:
    """As if it had been one run."""
    resumed(lines)
    assert resumed(lines).returncode == 1
    assert lines.with_name("out").read_bytes() == whole


def test_an_input_that_has_grown_goes_on(lines: Path, whole: bytes) -> None:
    """What was there is done."""
    resumed(lines)
    with lines.open("a") as file:
        file.write("one more\n")
    assert shown(resumed(lines), "calls") == 1
    assert lines.with_name("out").read_bytes().startswith(whole)
    assert len(lines.with_name("out").read_bytes().splitlines()) == 41


def test_an_input_from_a_pipe_is_read_again(lines: Path, whole: bytes) -> None:
    """From its start."""
    resumed(lines, text=lines.read_text())
    cut(lines, 300)
    assert resumed(lines, text=lines.read_text()).returncode == 1
    assert lines.with_name("out").read_bytes() == whole


def test_another_input_is_refused(lines: Path) -> None:
    """It is compared as far as it was read; the results stay."""
    resumed(lines)
    before = lines.with_name("out").read_bytes()
    text = lines.read_text()
    for other, says in (
        (text.replace("line 9", "line x"), "its first [0-9,]+ bytes are others"),
        (text[:50], "it has only 50 bytes"),
    ):
        lines.write_text(other)
        ran = resumed(lines)
        assert ran.returncode == 2
        assert "is not the input that the results in" in ran.stderr
        assert re.search(says, ran.stderr.replace("\n  ", " "))
        assert lines.with_name("out").read_bytes() == before


def test_a_last_line_without_an_ending_may_not_go_on(lines: Path) -> None:
    """Its row would be that of half a line."""
    lines.write_text("one\ntwo")
    resumed(lines)
    assert shown(resumed(lines), "calls") == 0
    lines.write_text("one\ntwo and more\n")
    ran = resumed(lines)
    assert ran.returncode == 2
    assert "its last line, which has a result, goes on" in ran.stderr


def test_what_follows_the_results_may_be_changed_after_ctrl_c(lines: Path, tmp_path: Path) -> None:
    """The last record is of exactly the lines that have rows."""
    lines.write_text('{"ms": 1}\n{"ms": 600000}\n{"ms": 1}\n')
    out = tmp_path / "out"
    args = ("run", EXAMPLE, "--tool", "nap", "--input", lines, "--resume", out)
    with started(*args) as process:
        while not (out.exists() and out.stat().st_size):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.ended()[0] == 130
    lines.write_text('{"ms": 1}\n{"ms": 2}\n')
    assert run_here(*args).returncode == 0
    assert len(out.read_bytes().splitlines()) == 2


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--number"], "has results of another numbered: False, not True"),
        ([EXAMPLE, "--tool", "echo"], "has results of another tool: word_count, not echo"),
        (["--output", "x"], "--resume FILE is the output: leave out --output"),
        (["--errors", "lines"], "are the same file"),
        (["--errors", "out.resume"], "are the same file"),
        (["--errors", "out"], "are the same file"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    lines: Path, monkeypatch: pytest.MonkeyPatch, args: list[str | Path], says: str
) -> None:
    """In a sentence, and all files stay."""
    monkeypatch.chdir(lines.parent)
    resumed(lines)
    before = {path: path.read_bytes() for path in lines.parent.iterdir()}
    ran = run_here("run", *args, "--input", "lines", "--resume", "out")
    assert ran.returncode == 2
    assert says in ran.stderr.replace("\n  ", " ")
    assert {path: path.read_bytes() for path in lines.parent.iterdir()} == before


def test_a_record_that_is_missing_or_broken_is_refused(lines: Path) -> None:
    """Nothing says of what input the results are."""
    resumed(lines)
    record = lines.with_name("out.resume")
    for content, says in (
        (None, "has results, but there is no"),
        (b"{", "is no record of a run"),
        (b"[]", "is no record of a run"),
        (b'{"form": 1}', "is no record of a run"),
        (b'{"form": 1, "size": "9", "digest": "", "work": {}}', "is no record of a run"),
        (b'{"form": 1, "size": NaN, "digest": "", "work": {}}', "is no record of a run"),
        (b'{"form": 1, "size": 9, "digest": "", "work": []}', "is no record of a run"),
        (b"[" * 100_000, "is no record of a run"),
        (b'{"form": 2}', "is of another version of wasmpool"),
    ):
        record.unlink(missing_ok=True)
        if content is not None:
            record.write_bytes(content)
        ran = resumed(lines)
        assert ran.returncode == 2
        assert says in ran.stderr.replace("\n  ", " ")


async def test_a_record_of_which_only_a_part_is_written_takes_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk takes a part of it, and then no more: the record of before stays."""
    path = tmp_path / "out.resume"
    record = RunRecord(str(path), ResumedInput(SampleSource()), {})
    path.write_bytes(b"before")
    taken = iter((7, OSError(errno.ENOSPC, "No space left on device")))

    def write(_descriptor: int, _data: bytes) -> int:
        done = next(taken)
        if isinstance(done, OSError):
            raise done
        return done

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space left"):
        await record.cover([])
    assert path.read_bytes() == b"before"


def test_two_runs_do_not_write_one_output(lines: Path) -> None:
    """The second one is refused; so is what is no file."""
    with lines.with_name("out").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "is being written by another run" in resumed(lines).stderr
    ran = run_here("run", "--input", lines, "--resume", "/dev/null")
    assert ran.returncode == 2
    assert "is no file that a later run can go on with" in ran.stderr


@pytest.mark.parametrize("numbered", [False, True])
def test_errors_have_a_file_with_the_numbers_of_their_lines(lines: Path, numbered: bool) -> None:
    """They are in the output as well; a resumed run has each of them once."""
    errors = lines.with_name("errors")
    args: list[str | Path] = ["--errors", errors, *(["--number"] if numbered else [])]
    resumed(lines, *args)
    rows = [json.loads(row) for row in errors.read_bytes().splitlines()]
    assert [row["line"] for row in rows] == [5, 31]
    whole, before = lines.with_name("out").read_bytes(), errors.read_bytes()
    assert whole.count(b'"error": ') == 2
    for size in (0, 400, 1200):
        cut(lines, size)
        errors.write_bytes(before + b'{"line": 4')
        resumed(lines, *args)
        assert (lines.with_name("out").read_bytes(), errors.read_bytes()) == (whole, before)
    errors.write_bytes(b"my diary\n")
    ran = resumed(lines, *args)
    assert ran.returncode == 2
    assert "it has lines that are no errors of an earlier run" in ran.stderr.replace("\n  ", " ")
    assert errors.read_bytes() == b"my diary\n"


def test_a_file_of_errors_is_replaced_by_a_run_from_the_start(lines: Path) -> None:
    """As the output is; both to standard output is refused."""
    errors = lines.with_name("errors")
    errors.write_text("before")
    assert run_here("run", "--input", lines, "--errors", errors).returncode == 1
    assert [json.loads(row)["line"] for row in errors.read_bytes().splitlines()] == [5, 31]
    ran = run_here("run", "--input", lines, "--errors", "-")
    assert "results and errors both go to standard output" in ran.stderr


# --- kills ---


def check_kills(folder: Path, kills: int, *args: str) -> None:
    """Kill a run, and the processes of its group, at random moments, and go on each time."""
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"the seed is {seed}")
    chance = random.Random(seed)
    lines, out, errors = folder / "lines", folder / "out", folder / "errors"
    lines.write_text("".join(_line(chance, number) for number in range(1_000 * kills)))
    command = [sys.executable, "-m", "wasmpool", "run", "--input", str(lines)]
    whole = folder / "whole"
    subprocess.run([*command, "--output", str(whole)], stderr=subprocess.DEVNULL, check=False)
    command += ["--resume", str(out), "--errors", str(errors), *args]
    killed = grown = 0
    while killed < kills:
        before = out.stat().st_size if out.exists() else 0
        with subprocess.Popen(
            command, stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            at_work = chance.random() < 0.8
            while at_work and process.poll() is None and _size(out) <= before:
                time.sleep(0.001)
            time.sleep(chance.random() * 0.1)
            if process.poll() is not None:
                break
            os.killpg(process.pid, signal.SIGKILL)
        killed += 1
        grown += _size(out) > before
    print(f"{killed} kills, in {grown} of them there were new rows")
    ran = subprocess.run(command, stderr=subprocess.PIPE, check=False)
    assert ran.returncode == 1, ran.stderr
    assert out.read_bytes() == whole.read_bytes()
    numbers = [json.loads(row)["line"] for row in errors.read_bytes().splitlines()]
    rows = enumerate(whole.read_bytes().splitlines(), 1)
    assert numbers == [number for number, row in rows if row.startswith(BROKEN)]


def _line(chance: random.Random, number: int) -> str:
    words = " word" * chance.randrange(20)
    return "{broken\n" if chance.random() < 0.01 else f"line {number}{words}\n"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_a_run_that_is_killed_goes_on(tmp_path: Path) -> None:
    """The output and the errors are those of one undisturbed run."""
    check_kills(tmp_path, 3)


@pytest.mark.slow
@pytest.mark.parametrize("args", [(), ("--processes", "2")], ids=["here", "processes"])
def test_a_run_that_is_killed_often_goes_on(tmp_path: Path, args: tuple[str, ...]) -> None:
    """30 times, at random moments."""
    check_kills(tmp_path, 30, *args)
