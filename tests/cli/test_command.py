"""The command as a user meets it, with real instances; as a process where that matters."""

from __future__ import annotations

import base64
import collections
import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from tests.cli.in_fork import COMMAND, SECONDS, started
from tests.cli.in_process import run_here, run_on_terminal

from wasmpool.__main__ import main
from wasmpool._cli import sample_text
from wasmpool.example import PATH as EXAMPLE

GUESTS = Path(__file__).parents[1] / "guests"

AS_A_MODULE = [sys.executable, "-W", "error", "-m", "wasmpool"]

TOOLS = "word_count, echo, spin, nap, fetch, remember, recall, grow, crash, quit"

Ran = subprocess.CompletedProcess[str]


def wasmpool(*args: str | Path, text: str = "", program: list[str] | None = None) -> Ran:
    return subprocess.run(
        [*(program or AS_A_MODULE), *map(str, args)],
        input=text,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )


def rows(output: str | bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def data(row: dict[str, Any]) -> Any:
    """What a tool of the example answered: JSON, in a string."""
    assert list(row) == ["data"]
    return json.loads(row["data"])


def table(stderr: str) -> dict[str, str]:
    """The final table, as name -> value."""
    return dict(re.findall(r"^│ +(.*?) +│ +(.*?) +│$", stderr, re.MULTILINE))


def counted(text: str) -> dict[str, Any]:
    """What `word_count` is to say of one line, counted independently."""
    words = re.split(r"[ \t\n\v\f\r]+", text.strip(" \t\n\v\f\r"))
    words = [word for word in words if word]
    return {
        "words": len(words),
        "characters": len(text),
        "counts": collections.Counter(words),
    }


def test_without_anything_the_example_counts_the_words_of_a_generated_text() -> None:
    """The first command of the README: more than 10,000 rows, all right, and a table."""
    ran = wasmpool("run")
    assert ran.returncode == 0
    hint, *_ = ran.stderr.splitlines()
    assert hint == (
        "no --input: the input is a generated text of 12,000 lines (--input - reads standard input)"
    )
    answers = rows(ran.stdout)
    assert len(answers) >= 10_000
    assert table(ran.stderr)["calls"] == str(len(answers))
    assert table(ran.stderr)["failures"] == "0"
    assert set(table(ran.stderr)) == {
        "calls",
        "failures",
        "seconds",
        "calls per second",
        "p50 of the call",
        "p99 of the call",
        "instances started",
        "instances retired",
        "closed",
    }


def test_counts_are_those_of_python(tmp_path: Path) -> None:
    """On a text with scripts, blanks, tabs and CR LF each row is what Python counts."""
    lines = [
        "The cat and the dog",
        "",
        "  naïve\tcafé  東京 東京 ",
        "a\u2028b a",
        "x" * 5000,
        "🦉 é",
    ]
    text = tmp_path / "text"
    text.write_bytes("\r\n".join(lines).encode())
    ran = run_here("run", EXAMPLE, "--tool", "word_count", "--input", text)
    assert ran.returncode == 0
    for line, row in zip(lines, rows(ran.stdout), strict=True):
        answer, expected = data(row), counted(line)
        assert answer["words"] == expected["words"]
        assert answer["characters"] == expected["characters"]
        assert all(expected["counts"][word] == count for word, count in answer["top"])
        assert len(answer["top"]) == min(10, len(expected["counts"]))


def test_one_bad_line_fails_alone() -> None:
    """Rows keep their places around a broken line, and the exit status is 1."""
    lines = '{"message": "a"}\n{broken\n{"message": "c"}\n{"wrong": 1}\n{"message": "e"}'
    ran = run_here("run", "--tool", "echo", "--input", "-", text=lines)
    answers = rows(ran.stdout)
    assert ran.returncode == 1
    assert [data(answers[n]) for n in (0, 2, 4)] == [{"echo": c} for c in "ace"]
    assert "is not a JSON object" in answers[1]["error"]
    assert list(answers[3]) == ["error"]
    assert table(ran.stderr)["failures"] == "2"


def test_traps_and_exits_are_rows_and_the_pool_goes_on() -> None:
    """An instance that traps is replaced, its line is an error row, and the table counts it."""
    ran = run_here("run", "--tool", "crash", "--size", "1", "--input", "-", text="{}\n{}\n")
    assert ran.returncode == 1
    assert [list(row) for row in rows(ran.stdout)] == [["error"]] * 2
    assert "unreachable" in ran.stdout
    assert table(ran.stderr)["trap"] == "2"
    ran = run_here("run", "--tool", "quit", "--input", "-", text='{"status": 3}')
    assert rows(ran.stdout) == [{"error": "the guest exited with status 3"}]
    assert table(ran.stderr)["exit"] == "1"


def test_a_call_that_takes_too_long_is_a_row() -> None:
    """`--timeout` bounds each call, not the run."""
    lines = '{"rounds": 4000000000000}\n{"rounds": 1}\n'
    ran = run_here("run", "--tool", "spin", "--timeout", "0.5", "--input", "-", text=lines)
    assert ran.returncode == 1
    long, short = rows(ran.stdout)
    assert "took longer than limits.call_seconds=0.5" in long["error"]
    assert list(short) == ["data"]
    assert table(ran.stderr)["timeout"] == "1"


def test_a_guest_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The guest's own trouble, not the pool's words around it and no class names."""
    guest = tmp_path / "guest.wat"
    text = (GUESTS / "wat_plugin.wat").read_text()
    guest.write_text(text.replace(";;start", "(start $trap)"))
    ran = run_here("run", guest)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "guest.wat cannot be used as a plugin: " in ran.stderr
    assert "unreachable" in ran.stderr
    assert "pool" not in ran.stderr
    assert "GuestTrap" not in ran.stderr


def all_of(terminal: int) -> bytes:
    """What is shown on a terminal until nobody has it any more."""
    shown = b""
    with contextlib.suppress(OSError):  # EIO is how a terminal ends
        while chunk := os.read(terminal, 4096):
            shown += chunk
    os.close(terminal)
    return shown


def test_a_terminal_as_input_gets_a_hint_and_no_bar() -> None:
    """Somebody types there: it says how to end, and draws nothing into the lines."""
    terminal, inner = pty.openpty()
    with started("run", "--input", "-", stdin=inner, stdout=inner, stderr=inner) as process:
        os.close(inner)
        os.write(terminal, b"one two\n\x04")
        shown = all_of(terminal)
        status, _, _ = process.ended()
    assert status == 0
    assert b"reading lines from the terminal; Ctrl-D ends the input" in shown
    assert b"\x1b[?25l" not in shown  # a bar hides the cursor
    assert shown.count(b'{"data": ') == 1


def test_results_go_to_the_output(tmp_path: Path) -> None:
    """`--output` takes the rows, whatever was there before; standard output stays empty."""
    output = tmp_path / "rows"
    output.write_text("old\n" * 100)
    ran = run_here("run", "--input", "-", "--output", output, text="one two")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert data(rows(output.read_text())[0])["words"] == 2


def test_an_empty_input_is_no_rows() -> None:
    """Nothing to do is done well."""
    ran = run_here("run", "--input", "-", text="")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert table(ran.stderr)["calls"] == "0"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--tool", "nope"], f"'example' has no tool 'nope'; it has: {TOOLS}"),
        ([EXAMPLE], f"'example' has 10 tools, choose one with --tool: {TOOLS}"),
        (["missing.wasm"], "the plugin missing.wasm cannot be read: No such file or directory"),
        (["."], "the plugin . cannot be read: Is a directory"),
        (["text"], "text cannot be used as a plugin"),
        (["empty.wasm"], "empty.wasm cannot be used as a plugin: "),
        (["--input", "missing"], "the input missing cannot be read: No such file or directory"),
        (["--input", "."], "the input . cannot be read: Is a directory"),
        (["--output", "no/where"], "the output no/where cannot be written: No such file"),
        (
            ["--input", "text", "--output", "./text"],
            "the input text and the output ./text are the same file",
        ),
        (["--size", "0"], "'--size': 0 is not in the range"),
        (["--tasks", "many"], "'--tasks': 'many' is not a valid integer"),
        (["--timeout", "0"], "'--timeout': 0.0 is not in the range"),
        (["--timeout", "nan"], "--timeout: Limits.call_seconds must be above 0 and finite"),
        (["--timeout", "inf"], "--timeout: Limits.call_seconds must be above 0 and finite"),
        (["--frobnicate"], "No such option"),
        (["--memory", "64MB"], "'--memory': '64MB' is not a size; give bytes, or KiB, MiB or GiB"),
        (["--memory", "2048GiB"], "--memory: Limits.memory must be from 0 to 1,099,511,627,776"),
        (["--max-uses", "0"], "'--max-uses': 0 is not in the range"),
        (["--allow-host", "http://x"], "'--allow-host': 'http://x' is not a host name"),
        (["--credential", "=x"], "'--credential': a credential has no name before the ="),
        ([""], "the plugin '' cannot be read: Is a directory"),
        (["--input", ""], "the input '' cannot be read: No such file or directory"),
        (["--output", ""], "the output '' cannot be written: No such file or directory"),
    ],
)
def test_wrong_use_is_one_sentence_and_status_2(
    args: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback, nothing on standard output, no file touched; it says what is wrong."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("no wasm\n")
    (tmp_path / "empty.wasm").write_bytes(b"\0asm\1\0\0\0")
    ran = run_here("run", *args)
    assert (ran.returncode, ran.stdout) == (2, "")
    *usage, sentence = ran.stderr.splitlines()
    assert sentence.startswith("Error: ")
    assert says in sentence
    assert "Traceback" not in ran.stderr
    assert not usage or usage[0].startswith("Usage: ")
    assert (tmp_path / "text").read_text() == "no wasm\n"


def test_a_module_that_is_no_plugin_is_told_which_export_is_missing(tmp_path: Path) -> None:
    """A valid module without the contract is refused by the name of an export."""
    module = tmp_path / "empty.wasm"
    module.write_bytes(b"\0asm\1\0\0\0")
    sentence = run_here("run", module).stderr
    assert re.search(r"\b(name|metadata|tools|configure|execute|healthy)\b", sentence.split(":")[2])


def test_wrong_use_leaves_the_output_as_it_was(tmp_path: Path) -> None:
    """The output is opened last: an unknown tool does not empty it."""
    output = tmp_path / "rows"
    output.write_text("precious")
    assert run_here("run", "--tool", "nope", "--output", output).returncode == 2
    assert output.read_text() == "precious"


def test_rows_come_while_the_pipe_stays_open() -> None:
    """With `--input -` a line is answered at once; the next may come much later."""
    with started("run", "--tool", "echo", "--input", "-") as process:
        for n in range(3):
            process.send(b'{"message": "%d"}\n' % n)
            assert data(json.loads(process.stdout.readline())) == {"echo": str(n)}
        status, out, err = process.ended()
    assert (status, out) == (0, b"")
    assert table(err.decode())["calls"] == "3"


@pytest.mark.parametrize("tool", ["nap", "spin"])
def test_ctrl_c_stops_promptly(tool: str) -> None:
    """Guests that sleep or compute for ever are ended; rows and table are there, status 130."""
    forever = {"nap": b'{"ms": 3600000}\n', "spin": b'{"rounds": 4000000000000}\n'}[tool]
    short = {"nap": b'{"ms": 1}\n', "spin": b'{"rounds": 1}\n'}[tool]
    with started("run", "--tool", tool, "--input", "-", "--size", "2") as process:
        process.send(short * 5)
        first = b"".join(process.stdout.readline() for _ in range(5))
        process.send(forever * 3 + short)
        time.sleep(0.1)  # so that guests are at it; nothing is different if they are not yet
        process.send_signal(signal.SIGINT)
        status, out, err = process.ended()
    assert status == 130
    assert [list(row) for row in rows(first + out)] == [["data"]] * 5
    assert table(err.decode())["interrupted"] == "by Ctrl-C"
    assert table(err.decode())["calls"] == "5"
    assert table(err.decode())["failures"] == "0"
    assert b"Traceback" not in err


def test_ctrl_c_while_nothing_comes() -> None:
    """Waiting for input is stopped as calls are."""
    with started("run", "--input", "-") as process:
        process.send(b"a\n")
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130  # its input is still open
        _, _, err = process.ended()
    assert table(err.decode())["calls"] == "1"


def test_a_reader_that_has_seen_enough_ends_the_run_quietly() -> None:
    """As with `| head -1`: no traceback, no further calls, the shell's status for it."""
    with started("run", "--tool", "nap", "--input", "-", "--size", "1") as process:
        process.send(b'{"ms": 20}\n' * 1000)
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait() == 141
        _, _, err = process.ended()
    assert b"Error" not in err
    assert b"Traceback" not in err
    assert int(table(err.decode())["calls"]) < 1000


def test_a_full_disk_is_an_error_that_says_so() -> None:
    """The rows cannot be kept: status 2, in a sentence."""
    ran = run_here("run", "--output", "/dev/full")
    assert ran.returncode == 2
    assert "Error: /dev/full cannot be written: No space left on device" in ran.stderr


PEAK = f"""
import atexit, resource, sys
def peak():
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
atexit.register(peak)
{COMMAND}
"""


def peak_of(*args: str, chunk: bytes, chunks: int) -> tuple[int, bytes]:
    """Feed `chunks` times `chunk`; the peak of the process in KiB, and the rows."""
    with started("run", "--size", "2", "--input", "-", *args, script=PEAK) as process:
        for _ in range(chunks):
            process.send(chunk)
        _, out, err = process.ended()
    return int(err.rpartition(b"peak ")[2]), out


def test_memory_does_not_grow_with_the_number_of_lines(tmp_path: Path) -> None:
    """Four times the input takes no more memory, though every row is large."""
    line = b"lorem ipsum " * 10_000 + b"\n"
    args = ("--tool", "word_count", "--output", str(tmp_path / "rows"))
    few, _ = peak_of(*args, chunk=line, chunks=80)
    many, _ = peak_of(*args, chunk=line, chunks=320)
    assert many < few + 24 * 1024
    assert (tmp_path / "rows").read_bytes().count(b"\n") == 320


def test_a_line_without_end_is_an_error_row_and_takes_no_memory() -> None:
    """100 MiB without a line's ending: one error, and the line after it is answered."""
    few, _ = peak_of(chunk=b"x" * 1024, chunks=10)
    many, out = peak_of(chunk=b"x" * 1024 * 1024, chunks=100)
    assert many < few + 64 * 1024
    size, limit = 100 * 1024 * 1024, 16 * 1024 * 1024
    assert rows(out) == [
        {"error": f"the line is too long: {size} bytes, above the limit of {limit}"}
    ]


@pytest.mark.parametrize("output_too", [True, False])
def test_a_terminal_gets_a_progress_bar(output_too: bool) -> None:
    """It is drawn on standard error and gone at the end; rows on the same terminal stay whole."""
    terminal, inner = pty.openpty()
    lines = b'{"ms": 50}\n' * 5
    size = {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    args = ("run", "--tool", "nap", "--input", "-", "--size", "1")
    output = inner if output_too else None
    with started(*args, stdout=output, stderr=inner, env=size) as process:
        os.close(inner)
        process.send(lines)
        process.stdin.close()
        text = all_of(terminal).decode()
        status, _, _ = process.ended()
    assert status == 0
    assert "0 failed" in text
    assert "\x1b[?25h" in text.rpartition("\x1b[?25l")[2]  # the cursor is back
    assert table(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r", ""))["calls"] == "5"
    assert text.count('{"data": ') == (5 if output_too else 0)


def plain(shown: str) -> str:
    """Without what draws the bar."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).replace("\r", "")


@pytest.fixture
def sample_lines(monkeypatch: pytest.MonkeyPatch) -> int:
    """The length of the generated text, made short: still far more than a terminal shows of it."""
    monkeypatch.setattr(sample_text, "SAMPLE_LINES", 500)
    return 500


def test_on_a_terminal_the_generated_text_shows_a_few_results(sample_lines: int) -> None:
    """A first try shows results, progress and the table, not all lines."""
    status, shown = run_on_terminal("run")
    assert status == 0
    assert "the first 5 results are shown, --output FILE keeps all" in shown
    assert shown.count('{"data": ') == 5
    assert "0 failed" in shown
    assert table(plain(shown))["calls"] == str(sample_lines)


@pytest.mark.parametrize(
    "args", [["--output", "-"], ["--input", "-"], [EXAMPLE, "--tool", "word_count", "--input", "-"]]
)
def test_on_a_terminal_all_else_is_shown_whole(
    args: list[str | Path], tmp_path: Path, sample_lines: int
) -> None:
    """What was asked for by an option is not cut, and what is no try-out neither."""
    text = tmp_path / "in"
    text.write_text("x\n" * 100)
    given = [text if arg == "-" and args != ["--output", "-"] else arg for arg in args]
    status, shown = run_on_terminal("run", *given)
    assert status == 0
    assert shown.count('{"data": ') == (sample_lines if args == ["--output", "-"] else 100)
    assert "are shown" not in shown


@pytest.mark.usefixtures("sample_lines")
def test_a_dumb_terminal_gets_no_bar() -> None:
    """It could not take a line back: no sequences, no empty lines."""
    status, shown = run_on_terminal("run", TERM="dumb")
    assert status == 0
    assert "\x1b" not in shown
    assert "\n\n" not in shown
    assert shown.count('{"data": ') == 5


def test_messages_in_a_file_have_no_trace_of_a_bar(tmp_path: Path) -> None:
    """Rows on a terminal hide a bar only if there is one."""
    terminal, inner = pty.openpty()
    to = [f">&{inner}", f"2>{tmp_path / 'err'}"]
    ran = run_here("run", "--input", "-", text="one\ntwo\n", redirections=to)
    os.close(inner)
    os.close(terminal)
    assert ran.returncode == 0
    first, *_ = (tmp_path / "err").read_text().splitlines()
    assert first == "wasmpool run: word_count of example"


def test_a_plugin_reads_standard_input_by_itself() -> None:
    """With a PLUGIN, no --input is needed where standard input is no terminal."""
    ran = run_here("run", EXAMPLE, "--tool", "word_count", text="one two\nthree\n")
    assert ran.returncode == 0
    assert [data(row)["words"] for row in rows(ran.stdout)] == [2, 1]
    assert "no --input" not in ran.stderr


def test_a_plugin_on_a_terminal_needs_an_input() -> None:
    """It does not wait for somebody who does not know that lines are to be typed."""
    status, shown = run_on_terminal("run", EXAMPLE, "--tool", "word_count")
    assert status == 2
    assert shown == "Error: there is no input: give --input FILE, or --input - to type the lines\n"


def test_what_is_wrong_with_a_plugin_comes_before_its_input(tmp_path: Path) -> None:
    """A file of lines given as PLUGIN by mistake is told to be no module."""
    (tmp_path / "lines").write_text("one two\n")
    status, shown = run_on_terminal("run", tmp_path / "lines")
    assert status == 2
    assert "cannot be used as a plugin" in shown


def test_max_uses_replaces_instances() -> None:
    """One use each: the table counts them."""
    ran = run_here("run", "--max-uses", "1", "--input", "-", text="a\nb\nc\n")
    assert ran.returncode == 0
    assert table(ran.stderr)["uses"] == "3"


def test_pristine_gives_each_call_an_instance_of_its_own(tmp_path: Path) -> None:
    """The table counts them; what no snapshot can be made of is told."""
    ran = run_here("run", "--pristine", "--input", "-", text="a\nb\nc\n")
    assert ran.returncode == 0
    assert table(ran.stderr)["uses"] == "3"
    ran = run_here("run", "--pristine", "--processes", "1", "--input", "-", text="a\nb\n")
    assert ran.returncode == 0
    ran = run_here("run", "--pristine", "--max-uses", "2", text="")
    assert ran.returncode == 2
    assert "--pristine and --max-uses exclude each other" in ran.stderr
    library = '(module (func (export "f")))'
    calls = """(module (import "l" "f" (func))
      (import "extism:host/env" "output_set" (func (param i64 i64)))
      (func (export "call")))"""
    modules = [
        {"name": name, "data": base64.b64encode(text.encode()).decode()}
        for name, text in (("l", library), ("main", calls))
    ]
    (tmp_path / "two.json").write_text(json.dumps({"wasm": modules}))
    ran = run_here("run", tmp_path / "two.json", "--pristine", text="")
    assert ran.returncode == 2
    assert "cannot be used as an Extism plugin: " in ran.stderr
    assert "linked to other modules" in ran.stderr.replace("\n  ", " ")


def test_memory_bounds_each_instance() -> None:
    """A guest that wants more is refused, and a plugin that starts with more is not started."""
    lines = '{"bytes": 33554432}\n'
    assert run_here("run", "--tool", "grow", "--input", "-", text=lines).returncode == 0
    ran = run_here("run", "--tool", "grow", "--memory", "16MiB", "--input", "-", text=lines)
    assert ran.returncode == 1
    ran = run_here("run", "--memory", "64KiB")
    assert ran.returncode == 2
    assert "its memory starts with 131,072 bytes, above limits.memory=65,536" in ran.stderr


def test_credentials_configure_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them at once; without any, it is not configured."""
    monkeypatch.setenv("api_key", "from outside")
    plugin = GUESTS / "wat_plugin.wat"
    run: list[str | Path] = ["run", plugin, "--tool", "credentials"]
    ran = run_here(*run, "--credential", "a=1=2", "--credential", "api_key", text="\n")
    assert ran.returncode == 0
    assert data(rows(ran.stdout)[0]) == {"a": "1=2", "api_key": "from outside"}
    assert rows(run_here(*run, text="\n").stdout) == [{"data": ""}]


def test_refused_credentials_are_in_the_plugins_words() -> None:
    """One sentence, status 2."""
    ran = run_here("run", "--credential", "nope=secret")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "refused its credentials: " in ran.stderr
    assert 'unknown key "nope"' in ran.stderr
    assert "secret" not in ran.stderr


@pytest.mark.parametrize(
    "args", [[], ["--allow-host", "api.example.com"], ["--allow-host", "127.0.0.1"]]
)
def test_hosts_are_reached_only_if_allowed_and_public(args: list[str]) -> None:
    """No host by default, no other host, and no private address by a name that is allowed."""
    fetch = ["run", "--tool", "fetch", "--input", "-", *args]
    url = "base_url=http://127.0.0.1:9"
    ran = run_here(*fetch, "--credential", url, text='{"path": "/"}\n')
    assert ran.returncode == 0
    assert data(rows(ran.stdout)[0])["status"] == 0


def test_no_terminal_no_bar() -> None:
    """A log file gets the table and no control characters."""
    ran = run_here("run", "--tool", "nap", "--input", "-", text='{"ms": 200}\n')
    assert "\x1b" not in ran.stderr
    assert "0 failed" not in ran.stderr


def test_help_is_there_and_quick() -> None:
    """What only a running command needs is not imported for the help."""
    program = "import sys; from wasmpool.__main__ import main\ntry: main()\n"
    program += "finally: print(*{'rich', 'httpx2', 'watchfiles'} & {*sys.modules}, file=sys.stderr)"
    for args in ["--help"], ["run", "--help"]:
        ran = wasmpool(*args, program=[sys.executable, "-c", program])
        assert (ran.returncode, ran.stderr) == (0, "\n")
        assert "Usage: wasmpool" in ran.stdout


def test_help_names_every_option() -> None:
    """The options of the main job, each with what it is for."""
    text = run_here("run", "--help").stdout
    for option in (
        "--tool NAME",
        "--input FILE",
        "--output FILE",
        "--size N",
        "--tasks M",
        "--timeout SECONDS",
        "--memory SIZE",
        "--max-uses N",
        "--pristine",
        "--allow-host HOST",
        "--credential KEY=VALUE",
    ):
        assert option in text


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_extra_says_what_to_install(missing: str) -> None:
    """The core installs without click and rich; the command then says what is missing."""
    program = f"import sys; sys.modules[{missing!r}] = None\n"
    program += "from wasmpool.__main__ import main; main()"
    ran = wasmpool("run", program=[sys.executable, "-c", program])
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.count("\n") == 1
    assert missing in ran.stderr
    assert 'pip install "wasmpool[cli]"' in ran.stderr


def test_the_command_is_installed() -> None:
    """`wasmpool` and `python -m wasmpool` are the same."""
    (script,) = entry_points(group="console_scripts", name="wasmpool")
    assert script.load() is main
