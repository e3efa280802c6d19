"""``wasmpool exec`` as a user meets it: one run of a program with the command's own streams."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.cli.in_fork import started
from tests.cli.in_process import run_here, run_on_terminal

from wasmpool._cli.exec_command import exit_status
from wasmpool.example import PATH as EXAMPLE

GUESTS = Path(__file__).parents[1] / "guests"
PROGRAM = GUESTS / "c_program.wasm"

ECHO = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $again
      (i32.store (i32.const 0) (i32.const 100))
      (i32.store (i32.const 4) (i32.const 4))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (i32.store (i32.const 4) (i32.load (i32.const 8)))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $again (i32.load (i32.const 4))))))"""
"""Writes each piece that it reads, four bytes at most."""

KIND = """(module
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $stat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $stat (i32.const 1) (i32.const 0)))
    (call $exit (i32.load8_u (i32.const 0)))))"""
"""Exits with the type of its standard output; 2 is a character device."""

DEAF = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "y\\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 8))
    (i32.store (i32.const 4) (i32.const 2))
    (loop $again
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 100)))
      (br $again))))"""
"""Writes for ever, and never looks whether that failed."""


def wat(folder: Path, text: str) -> Path:
    path = folder / "guest.wat"
    path.write_text(text)
    return path


# --- what the program is given ---


def test_all_that_follows_the_program_is_its_own() -> None:
    """Its arguments begin with the name of its file, and options may be among them."""
    ran = run_here("exec", PROGRAM, "args", "--help", "-x", "--", "--env", "A=1")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.split() == [
        "c_program.wasm", "args", "--help", "-x", "--", "--env", "A=1",
    ]  # fmt: skip


def test_its_environment_is_what_options_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name alone takes the value from here; nothing else is passed on."""
    monkeypatch.setenv("LANGUAGE", "fi")
    assert run_here("exec", PROGRAM, "env").stdout == ""
    ran = run_here("exec", "--env", "A=1=2", "--env", "LANGUAGE", PROGRAM, "env")
    assert ran.stdout.split() == ["A=1=2", "LANGUAGE=fi"]


def test_directories_are_read_only_unless_options_say_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have their own names or given ones; without the option there is none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("one")
    (tmp_path / "other").mkdir()
    assert run_here("exec", PROGRAM, "list", ".").returncode == 1
    assert run_here("exec", "--dir", ".", PROGRAM, "list", ".").stdout == "file\nother\n"
    dirs = ["--dir", f"{tmp_path}:/in", "--dir", "other:/out:rw"]
    ran = run_here("exec", *dirs, PROGRAM, "copy", "/in/file", "/out/copy")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (tmp_path / "other" / "copy").read_text() == "one"
    ran = run_here("exec", *dirs, PROGRAM, "append", "/in/file", "two")
    assert (ran.returncode, ran.stderr) == (1, "/in/file: errno 69\n")  # EROFS
    assert (tmp_path / "file").read_text() == "one"


def test_compiled_code_is_kept_in_the_cache(tmp_path: Path) -> None:
    """The directory is made."""
    cache = tmp_path / "cache"
    assert run_here("exec", "--cache", cache, PROGRAM, "exit", "0").returncode == 0
    assert len(list(cache.iterdir())) == 1
    assert run_here("exec", "--cache", cache, PROGRAM, "exit", "3").returncode == 3


# --- streams ---


def test_ten_binary_megabytes_pass(tmp_path: Path) -> None:
    """From standard input to standard output, unchanged."""
    source, sink = tmp_path / "in", tmp_path / "out"
    source.write_bytes(os.urandom(10 << 20))
    ran = run_here("exec", PROGRAM, "cat", redirections=[f"<{source}", f">{sink}"])
    assert (ran.returncode, ran.stderr) == (0, "")
    assert sink.read_bytes() == source.read_bytes()


def test_what_the_program_does_not_read_is_left(tmp_path: Path) -> None:
    """In a shell, the next command reads it."""
    source = tmp_path / "in"
    source.write_bytes(b"0123456789")
    program = wat(tmp_path, ECHO.replace("(br_if $again", "(br_if 1"))  # one piece
    with source.open("rb", buffering=0) as file:
        ran = run_here("exec", program, redirections=[f"<&{file.fileno()}"])
        assert (ran.returncode, ran.stdout) == (0, "0123")
        assert file.read() == b"456789"


def test_output_comes_at_once_and_ctrl_c_ends_the_wait_for_input(tmp_path: Path) -> None:
    """Pieces go back and forth, as between two programs; status 130, and no message."""
    with started("exec", wat(tmp_path, ECHO)) as process:
        for piece in b"one", b"two":
            process.send(piece)
            assert process.stdout.read(3) == piece
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.ended() == (130, b"", b"")


def test_a_program_that_ends_does_not_wait_for_input() -> None:
    """Though it has begun to read, and the pipe stays open."""
    with started("exec", "--timeout", "0.3", PROGRAM, "cat") as process:
        assert process.wait() == 2
    with started("exec", PROGRAM, "exit", "5") as process:
        assert process.wait() == 5


def test_a_terminal_is_one_to_the_program(tmp_path: Path) -> None:
    """And a pipe is none."""
    program = wat(tmp_path, KIND)
    assert run_on_terminal("exec", program) == (2, "")
    assert run_here("exec", program).returncode == 0


def test_a_program_that_does_not_notice_its_reader_has_gone_is_stopped(tmp_path: Path) -> None:
    """As by SIGPIPE: status 141, and no message."""
    reading, writing = os.pipe()
    os.close(reading)
    ran = run_here("exec", wat(tmp_path, DEAF), redirections=[f">&{writing}"])
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (141, "")


@pytest.mark.parametrize(
    ("redirection", "words", "status", "says"),
    [
        (">/dev/full", "args", 2, "Error: standard output cannot be written: No space left on"),
        (">&-", "args", 2, "Error: standard output cannot be written: it is closed"),
        (">&-", "exit 3", 3, ""),
        ("2>&-", "panic no", 134, ""),
        ("2>/dev/full", "panic no", 2, ""),
        ("<&-", "cat", 1, "read: errno 29\n"),
    ],
)
def test_streams_that_fail(redirection: str, words: str, status: int, says: str) -> None:
    """An output stops the program where it is used, an input is the program's own matter."""
    ran = run_here("exec", PROGRAM, *words.split(), redirections=[redirection])
    assert (ran.returncode, ran.stdout) == (status, "")
    assert ran.stderr.startswith(says)
    assert "Traceback" not in ran.stderr


# --- how it ends ---


def test_the_exit_status_is_the_programs() -> None:
    """What it printed is there."""
    ran = run_here("exec", PROGRAM, "say", "out", "err")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "out", "err")
    assert run_here("exec", PROGRAM, "exit", "7").returncode == 7


@pytest.mark.parametrize(
    ("returned", "status"), [(0, 0), (255, 255), (256, 1), (259, 3), (2**32 - 1, 255)]
)
def test_a_status_beyond_a_byte_is_cut_but_never_to_success(returned: int, status: int) -> None:
    """A process has no more than eight bits for it."""
    assert exit_status(returned) == status


def test_a_trap_is_status_134_and_a_sentence() -> None:
    """After what the program said."""
    ran = run_here("exec", PROGRAM, "panic", "at the disco")
    assert (ran.returncode, ran.stdout) == (134, "")
    said, sentence, *frames = ran.stderr.splitlines()
    assert said == "panic: at the disco"
    assert sentence == "Error: c_program._start trapped: wasm `unreachable` instruction executed"
    assert all(frame.startswith("  in ") for frame in frames)


def test_a_run_that_takes_too_long_is_ended() -> None:
    """Computing or waiting; status 2, and a sentence."""
    ran = run_here("exec", "--timeout", "0.1", PROGRAM, "spin")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "Error: module 'c_program' took longer than --timeout=0.1 seconds\n"


def test_the_stack_is_as_large_as_the_option_says(tmp_path: Path) -> None:
    """A recursion that is too deep by default."""
    text = """(module
      (func $down (param $n i32)
        (if (local.get $n) (then (call $down (i32.sub (local.get $n) (i32.const 1))))))
      (func (export "_start") (call $down (i32.const 100000))))"""
    program = wat(tmp_path, text)
    ran = run_here("exec", program)
    assert ran.returncode == 134
    assert "stack" in ran.stderr
    assert run_here("exec", "--stack", "16MiB", program).returncode == 0


def test_a_start_function_ends_the_run_as_well(tmp_path: Path) -> None:
    """By a trap, or an exit before the program has begun."""
    trap = wat(tmp_path, '(module (func $f unreachable) (start $f) (func (export "_start")))')
    assert run_here("exec", trap).returncode == 134
    text = KIND.replace('(func (export "_start")', '(func (export "_start")) (start $f) (func $f')
    text = text.replace("(i32.load8_u (i32.const 0))", "(i32.const 9)")
    assert run_here("exec", wat(tmp_path, text)).returncode == 9


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "Missing argument 'PROGRAM'"),
        (["--nope", PROGRAM], "No such option"),
        (["missing.wasm"], "the program missing.wasm cannot be read: No such file or directory"),
        (["."], "the program . cannot be read: Is a directory"),
        (["text"], "text cannot be run: file 'text' is no valid WebAssembly module"),
        (["component.wasm"], "component.wasm is no program: it exports no wasi:cli/run"),
        ([GUESTS / "c_reactor.wasm"], "reactor.wasm is no program: it exports no function _start"),
        ([EXAMPLE], "it looks like a plugin, whose tools `wasmpool run` calls"),
        (["imports.wat"], "module 'imports' imports what nobody provides"),
        (["--memory", "64KiB", PROGRAM], "memory starts with 196,608 bytes, above limits.memory"),
        (["--memory", "2048GiB", PROGRAM], "--memory: Limits.memory must be from 0 to 1,099,511"),
        (["--stack", "1GiB", PROGRAM], "--stack: Limits.stack must be from 16,384 to 16,777,216"),
        (["--timeout", "inf", PROGRAM], "--timeout: Limits.call_seconds must be above 0"),
        (["--dir", "missing", PROGRAM], "the directory missing cannot be opened: No such file"),
        (["--dir", "text:/x", PROGRAM], "the directory text cannot be opened: Not a directory"),
        (["--dir", ":rw", PROGRAM], "'--dir': ':rw' has an empty path"),
        (["--env", "=1", PROGRAM], "'--env': a variable has no name before the ="),
        (["--cache", "", PROGRAM], "--cache: '' is no directory"),
        (["--cache", "open", PROGRAM], "/open' can be written by other users"),
        ([PROGRAM, "\udce9"], r"'\udce9' is not UTF-8"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_sentence_and_status_2(
    args: list[str | Path], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing runs, and nothing is on standard output."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("no module")
    (tmp_path / "component.wasm").write_bytes(b"\0asm\x0d\0\1\0")
    (tmp_path / "imports.wat").write_text(
        '(module (import "a" "b" (func)) (func (export "_start")))'
    )
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    ran = run_here("exec", *args)
    assert (ran.returncode, ran.stdout) == (2, "")
    *usage, sentence = [line for line in ran.stderr.splitlines() if not line.startswith("  ")]
    assert sentence.startswith("Error: ")
    assert says in sentence
    assert "Traceback" not in ran.stderr
    assert not usage or usage[0].startswith("Usage: ")
