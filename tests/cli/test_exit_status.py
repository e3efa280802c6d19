"""The exit status tells the truth, whatever the standard streams are."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.in_fork import COMMAND, SECONDS, run_in_fork, started
from tests.cli.in_process import run_here

from wasmpool._cli.process import _alone, _ending
from wasmpool._cli.standard_streams import OutputFailed
from wasmpool._cli.wrong_use import WrongUse
from wasmpool.example import PATH as EXAMPLE

GUESTS = Path(__file__).parents[1] / "guests"

AS_A_MODULE = [sys.executable, "-W", "error", "-m", "wasmpool"]

INSPECT = ["inspect", str(EXAMPLE)]
PRINTING = [INSPECT, ["--help"], ["run", "--help"], ["--version"]]
RUN = ["run", "--tool", "word_count", "--input", "in"]


@pytest.fixture(autouse=True)
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "in"
    file.write_text("one two\nthree\n")
    return file


def in_shell(args: list[str], redirections: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", f"exec {shlex.join([*AS_A_MODULE, *args])} {redirections}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        timeout=SECONDS,
        env={**os.environ, **env},
        check=False,
    )


def with_redirection(args: list[str], redirection: str) -> subprocess.CompletedProcess[str]:
    """A fork has no streams that were closed from the start."""
    if not redirection.endswith("/dev/full"):
        return in_shell(args, redirection)
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - its descriptor
        if redirection.startswith("2"):
            return run_in_fork(*args, stderr=full.fileno())
        return run_in_fork(*args, stdout=full.fileno())


FAILING_OUTPUT = pytest.mark.parametrize(
    ("redirection", "why"),
    [(">/dev/full", "No space left on device"), (">&-", "it is closed")],
)


@pytest.mark.parametrize("args", [*PRINTING, RUN], ids=" ".join)
@FAILING_OUTPUT
def test_standard_output_that_fails_is_a_sentence_and_status_2(
    args: list[str], redirection: str, why: str
) -> None:
    """Never a traceback, never 0, never the 1 of a file that is no plugin."""
    ran = run_here(*args, redirections=[redirection])
    assert ran.returncode == 2
    assert f"Error: standard output cannot be written: {why}\n" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("args", [INSPECT, RUN], ids=" ".join)
@FAILING_OUTPUT
def test_the_end_of_the_interpreter_adds_nothing_to_an_output_that_fails(
    args: list[str], redirection: str, why: str
) -> None:
    """No second failure comes of what waits in its buffers, and the status stays."""
    ran = with_redirection(args, redirection)
    assert ran.returncode == 2
    assert ran.stderr.endswith(f"Error: standard output cannot be written: {why}\n")
    assert "Traceback" not in ran.stderr
    assert "Exception" not in ran.stderr


@pytest.mark.parametrize("args", [*PRINTING, RUN], ids=" ".join)
def test_a_pipe_that_nobody_reads_is_status_141(args: list[str]) -> None:
    """As if SIGPIPE had ended the process, and without an error."""
    reading, writing = os.pipe()
    os.close(reading)
    ran = run_here(*args, redirections=[f">&{writing}"])
    os.close(writing)
    assert ran.returncode == 128 + signal.SIGPIPE
    assert "Error" not in ran.stderr


@pytest.mark.parametrize("args", [INSPECT, RUN], ids=" ".join)
def test_the_end_of_the_interpreter_adds_nothing_to_a_pipe_that_nobody_reads(
    args: list[str],
) -> None:
    """Neither a message about a broken pipe nor another status."""
    reading, writing = os.pipe()
    os.close(reading)
    ran = run_in_fork(*args, stdout=writing)
    os.close(writing)
    assert ran.returncode == 128 + signal.SIGPIPE
    assert "Error" not in ran.stderr
    assert "Exception" not in ran.stderr


@pytest.mark.parametrize(
    ("args", "redirection", "status"),
    [
        (RUN, "2>/dev/full", 2),  # the results are there, the table is not
        (["run"], "2>/dev/full", 2),
        (["run", "--nope"], "2>/dev/full", 2),
        (["inspect", "missing"], "2>/dev/full", 2),
        (INSPECT, "2>/dev/full", 0),  # nothing was to be said
        (RUN, "2>&-", 0),  # nobody asked for messages
        (["run", "--nope"], "2>&-", 2),
        (["inspect", "missing"], "2>&-", 2),
        (INSPECT, "2>&-", 0),
        (RUN, "<&- >&- 2>&-", 2),
        (INSPECT, "<&- >&- 2>&-", 2),
    ],
)
def test_messages_that_cannot_be_written_do_not_turn_the_status_into_a_lie(
    args: list[str], redirection: str, status: int
) -> None:
    """A message that is lost is a failure, a closed standard error is a wish; no traceback."""
    ran = run_here(*args, redirections=redirection.split())
    assert (ran.returncode, ran.stderr) == (status, "")


@pytest.mark.parametrize(
    ("args", "redirection", "status"),
    [(RUN, "2>/dev/full", 2), (RUN, "2>&-", 0), (INSPECT, "<&- >&- 2>&-", 2)],
)
def test_the_end_of_the_interpreter_changes_no_status(
    args: list[str], redirection: str, status: int
) -> None:
    """Python itself ends in 120 where a standard stream cannot be flushed."""
    ran = with_redirection(args, redirection)
    assert (ran.returncode, ran.stderr) == (status, "")


def test_a_table_that_nobody_reads_is_status_141() -> None:
    """A closed pipe as standard error is treated as one as standard output."""
    reading, writing = os.pipe()
    os.close(reading)
    ran = run_in_fork(*RUN, stderr=writing)
    os.close(writing)
    assert ran.returncode == 128 + signal.SIGPIPE
    assert ran.stdout.count("\n") == 2


@pytest.mark.parametrize(
    ("args", "redirection", "sentence"),
    [
        (["--input", "-"], "<&-", "standard input cannot be read: it is closed"),
        ([str(EXAMPLE), "--tool", "echo"], "<&-", "standard input cannot be read: it is closed"),
        (["--input", "/dev/stdin"], "<&-", "the input /dev/stdin cannot be read: "),
        (["--input", "-"], "0>new", "standard input cannot be read: Bad file descriptor"),
        (["--output", "-"], "1</dev/null", "standard output cannot be written: Bad file descr"),
        (["--output", "/dev/stdout"], ">&-", "the output /dev/stdout cannot be written: "),
        (["--output", "/dev/full"], "", "/dev/full cannot be written: No space left on device"),
    ],
)
def test_an_input_or_output_that_fails_is_a_sentence_and_status_2(
    args: list[str], redirection: str, sentence: str
) -> None:
    """Closed, opened the other way, or full: it is named."""
    ran = run_here("run", *args, redirections=redirection.split())
    assert (ran.returncode, ran.stdout) == (2, "")
    assert f"Error: {sentence}" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_no_file_takes_the_number_of_a_closed_stream(text: Path) -> None:
    """The output file is not standard error, just because that was closed: no message gets in."""
    ran = in_shell([*RUN, "--output", "out"], "<&- >&- 2>&-")
    assert ran.returncode == 0
    assert text.with_name("out").read_text().count("\n") == 2
    assert text.with_name("out").read_text().startswith('{"data": ')


SEVERAL = """
import sys
from wasmpool._cli.process import run_process
for line in sys.argv[1:]:
    print("status", run_process(line.split()), flush=True)
"""
"""Several command lines in one process; the exit status of each follows its output."""


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=str,
)
def test_an_encoding_that_lacks_a_character_gets_its_number(
    env: dict[str, str], text: Path
) -> None:
    """Report, table and errors are written, whatever the locale."""
    guest = (GUESTS / "wat_plugin.wat").read_text()
    text.with_name("guest.wat").write_text(guest.replace("by hand", "Я hand"))  # as many bytes
    lines = ["inspect guest.wat", " ".join(RUN), "run Я.wasm"]
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", SEVERAL, *lines],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        timeout=SECONDS,
        env={**os.environ, **env},
        check=False,
    )
    report, between, rows = ran.stdout.partition("status 0\n")
    assert between
    assert re.search(r"description +\\u042f hand\n", report)
    assert rows.count('{"data": ') == 2
    assert rows.endswith("}\nstatus 0\nstatus 2\n")
    assert "cannot be read: No such file or directory" in ran.stderr
    assert ran.returncode == 0


@pytest.mark.parametrize("kind", ["stdin", "stdout"])
def test_a_pipe_that_another_process_made_non_blocking_is_waited_for(kind: str) -> None:
    """Pipes of event loops are: neither an empty nor a full one is an error."""
    reading, writing = os.pipe()
    os.set_blocking(reading, kind != "stdin")
    os.set_blocking(writing, kind != "stdout")
    line = b"word " * 4000 + b"\n"
    args = ("run", EXAMPLE, "--tool", "word_count")
    stdin, stdout = (reading, None) if kind == "stdin" else (None, writing)
    with started(*args, stdin=stdin, stdout=stdout) as process:
        if kind == "stdin":
            os.close(reading)
            first = os.write(writing, line)
            assert first == len(line)
            assert process.stdout.readline().startswith(b'{"data": ')  # it has found nothing since
            os.write(writing, line)
            os.close(writing)
            status, out, _ = process.ended()
            assert out.count(b"\n") == 1
        else:
            os.close(writing)
            process.send(b"x\n" * 2000)  # results for several times what a pipe holds
            process.stdin.close()
            with open(reading, "rb") as results:  # noqa: PTH123 - a descriptor
                assert results.read().count(b"\n") == 2000
            status, _, _ = process.ended()
    assert status == 0


def test_an_error_that_nobody_has_thought_of_is_a_sentence_with_its_place() -> None:
    """Status 2, which says neither that a line failed nor that a module is no plugin."""
    program = (
        "import wasmpool._cli.inspect_command as command\n"
        "async def broken(path): raise KeyError('\\x1b[31m')\n"
        "command.inspect_plugin = broken\n"
        f"{COMMAND}"
    )
    ran = run_in_fork(*INSPECT, script=program)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "Error: unexpected KeyError: '\\x1b[31m' (at line 2 of <string>)\n"


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (KeyboardInterrupt(), 130, ""),
        (OutputFailed("out", OSError(28, "full")), 2, "Error: out cannot be written: full\n"),
        (OutputFailed("out", BrokenPipeError()), 141, ""),
        (WrongUse("no"), 2, "Error: no\n"),
        (MemoryError(), 2, "Error: unexpected MemoryError"),
    ],
)
def test_an_error_means_the_same_out_of_a_nursery(
    error: BaseException, status: int, says: str
) -> None:
    """Groups of exceptions change neither the status nor the words; Ctrl-C comes first."""
    others = [ValueError(), BaseExceptionGroup("", [KeyError(), KeyError()])]
    grouped = BaseExceptionGroup("", [BaseExceptionGroup("", [error, *others])])
    for given in error, grouped:
        ended, said = _ending(_alone(given))
        assert ended == status
        assert said.startswith(says)
        assert bool(said) == bool(says)
    late = BaseExceptionGroup("", [*others, BaseExceptionGroup("", [KeyboardInterrupt()])])
    assert _ending(_alone(late)) == (130, "")
