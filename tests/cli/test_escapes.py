"""Texts of plugins and files reach the terminal without what it would act upon."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import unicodedata
from typing import TYPE_CHECKING

import pytest
from tests.cli.in_process import run_here, run_on_terminal

from wasmpool._cli.log import LogLines
from wasmpool._cli.shown import name_list, shown, shown_lines, shown_whole

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-W", "error", "-m", "wasmpool"]

EVIL = "\x1b]0;pwned\x07\nError: forged\r\x7f\x9b31m\u2028\u202eoops\u2066"
"""A title of the window, a line of its own, 8-bit controls, Unicode's line end and bidi marks."""


def plugin(*, name: str = "demo", tool: str = "t", version: str = "1", refusal: str = "") -> str:
    """A plugin of the contract by hand, as WAT: it answers each call with its tools."""
    texts = {
        1024: name,
        8192: json.dumps({"abi_version": 1, "version": version}, ensure_ascii=False),
        16384: json.dumps([{"name": tool}], ensure_ascii=False),
        24576: refusal,
    }
    data = "".join(f'(data (i32.const {at}) "{_wat(text)}")' for at, text in texts.items())
    packed = {at: at << 32 | len(text.encode()) for at, text in texts.items()}
    return f"""(module
      (memory (export "memory") 1) {data}
      (func (export "name") (result i64) (i64.const {packed[1024]}))
      (func (export "metadata") (result i64) (i64.const {packed[8192]}))
      (func (export "tools") (result i64) (i64.const {packed[16384]}))
      (func (export "configure") (param i64) (result i64) (i64.const {packed[24576]}))
      (func (export "execute") (param i64) (result i64) (i64.const {packed[16384]}))
      (func (export "healthy") (result i32) (i32.const 1))
      (func (export "malloc") (param i32) (result i32) (i32.const 40000)))"""


def _wat(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    return "".join(f"\\{byte:02x}" for byte in data)


def on_terminal(*args: str | Path) -> str:
    """What a terminal shows, without the bar's own sequences."""
    _, seen = run_on_terminal(*args, "--input", os.devnull, NO_COLOR="1", COLUMNS="200")
    return re.sub(r"\x1b\[(\?25[lh]|\d*[AK])|\r", "", seen)


def assert_harmless(text: str) -> None:
    """No control character, line end or mark but the line feeds of the command itself."""
    acted_upon = {
        sign
        for sign in text
        if sign != "\n" and unicodedata.category(sign) in {"Cc", "Cf", "Zl", "Zp"}
    }
    assert acted_upon == set()
    assert "\nError: forged" not in text
    assert "pwned" in text  # it is shown, all the same


def test_a_title_is_harmless(tmp_path: Path) -> None:
    """A plugin's and a tool's name stand above the table."""
    (tmp_path / "p.wat").write_text(plugin(name=EVIL, tool=EVIL))
    assert_harmless(on_terminal("run", tmp_path / "p.wat"))
    assert_harmless(run_here("run", tmp_path / "p.wat").stderr)


@pytest.mark.parametrize(
    "name", ["[red]x[/red]", "[/]", "[link=file:///]x", ":pile_of_poo:", "\\[b]"]
)
def test_markup_is_shown_as_it_is(name: str, tmp_path: Path) -> None:
    """What draws the table takes no orders from a plugin."""
    (tmp_path / "p.wat").write_text(plugin(name=name))
    assert f"wasmpool run: t of {name}\n" in on_terminal("run", tmp_path / "p.wat")
    ran = run_here("run", tmp_path / "p.wat", "--tool", name)
    assert ran.returncode == 2
    assert ran.stderr == f"Error: plugin '{name}' has no tool '{name}'; it has: t\n"


def test_errors_about_a_plugin_are_harmless(tmp_path: Path) -> None:
    """Imports, tools, a version, a refusal and file names in one sentence each."""
    path = tmp_path / f"{EVIL.replace('/', '')}.wat"
    path.write_text(plugin(name=EVIL, tool=EVIL, refusal=EVIL))
    linked = tmp_path / "linked.wat"
    linked.write_text(f'(module (import "env" "{_wat(EVIL)}" (func)))')
    for args in (
        ["run", path, "--tool", "nope"],
        ["run", path, "--tool", EVIL + "2"],
        ["run", path, "--credential", "a=b"],
        ["run", linked],
        ["run", tmp_path / EVIL],
        ["run", path, "--input", EVIL],
        ["run", path, "--output", f"no/{EVIL}"],
        ["run", path, "--output", path],
        ["run", path, "--memory", EVIL],
        ["run", path, "--size", EVIL],
        ["run", path, "--allow-host", EVIL],
        ["run", path, "--credential", EVIL],
        ["run", path, EVIL],
        ["run", f"--{EVIL}"],
        [EVIL],
        ["inspect", tmp_path / EVIL],
        ["inspect", f"--{EVIL}"],
    ):
        ran = run_here(*args)
        assert (ran.returncode, ran.stdout) == (2, ""), args
        assert_harmless(ran.stderr)
        assert "Traceback" not in ran.stderr


def test_a_report_is_harmless(tmp_path: Path) -> None:
    """All that inspect prints: names, metadata, tools, exports, imports, and what is wrong."""
    good, bad = tmp_path / "good.wat", tmp_path / "bad.wat"
    good.write_text(plugin(name=EVIL, tool=EVIL, version=EVIL))
    bad.write_text(
        f'(module (import "{_wat(EVIL)}" "{_wat(EVIL)}" (func)) (func (export "{_wat(EVIL)}")))'
    )
    ran = run_here("inspect", good)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert_harmless(ran.stdout)
    ran = run_here("inspect", bad)
    assert (ran.returncode, ran.stderr) == (1, "")
    assert_harmless(ran.stdout)


def test_results_are_harmless_and_the_same_text(tmp_path: Path) -> None:
    """Rows escape what JSON lets stand, which every reader undoes."""
    (tmp_path / "p.wat").write_text(plugin(tool=EVIL))
    (tmp_path / "in").write_text("line\n")
    ran = run_here("run", tmp_path / "p.wat", "--input", tmp_path / "in")
    assert ran.returncode == 0
    assert_harmless(ran.stdout)
    (row,) = map(json.loads, ran.stdout.splitlines())
    assert json.loads(row["data"]) == [{"name": EVIL}]


def log_line(message: object, *args: object, error: BaseException | None = None) -> str:
    info = None if error is None else (type(error), error, None)
    record = logging.LogRecord("wasmpool.x", logging.WARNING, "", 0, message, args, info)
    return LogLines().format(record)


def test_log_records_are_harmless_lines() -> None:
    """Message, arguments and error; no traceback."""
    assert_harmless(log_line("%s said %r", EVIL, EVIL, error=ValueError(EVIL)))
    assert log_line("plain") == "warning: wasmpool.x: plain"
    assert log_line("closing", error=KeyError("k")) == "warning: wasmpool.x: closing: KeyError: 'k'"
    assert log_line("closing", error=OSError()) == "warning: wasmpool.x: closing: OSError"


def test_a_log_record_that_cannot_be_formatted_is_a_line_too() -> None:
    """Another library's mistake ends no run."""
    assert "cannot be formatted: TypeError: " in log_line("%d", "no number")


def test_what_a_guest_writes_to_standard_error_is_a_harmless_line(tmp_path: Path) -> None:
    """It goes through the log, and the command shows warnings."""
    text = EVIL.replace("\n", " ").encode() + b"\n"
    vector = (50000).to_bytes(4, "little") + len(text).to_bytes(4, "little")
    imports = """(import "wasi_snapshot_preview1" "fd_write"
      (func $write (param i32 i32 i32 i32) (result i32)))"""
    data = f'(data (i32.const 50000) "{_wat(text)}") (data (i32.const 60000) "{_wat(vector)}")'
    execute = '(func (export "execute") (param i64) (result i64) '
    write = "(drop (call $write (i32.const 2) (i32.const 60000) (i32.const 1) (i32.const 60016)))"
    guest = plugin().replace("(module", f"(module {imports} {data}", 1)
    (tmp_path / "p.wat").write_text(guest.replace(execute, execute + write))
    (tmp_path / "in").write_text("line\n")
    ran = run_here("run", tmp_path / "p.wat", "--input", tmp_path / "in")
    assert ran.returncode == 0
    assert_harmless(ran.stderr)
    assert ran.stderr.startswith("warning: wasmpool.guest.stderr: ")


def test_names_are_cut_and_lists_end() -> None:
    """A sentence stays one, however much a plugin has to say."""
    assert shown("x" * 200) == "x" * 200
    assert shown("x" * 1234) == "x" * 200 + "... (1,234 characters)"
    assert shown("") == "''"
    assert name_list(["a", "b"]) == "a, b"
    assert name_list(str(n) for n in range(1030)).endswith("28, 29 and 1,000 more")


def test_a_message_of_several_lines_is_told_from_several_messages() -> None:
    """Its further lines are indented; it ends somewhere."""
    assert shown_lines("one") == "one"
    assert shown_lines("one\nError: two\n  three\n") == "one\n  Error: two\n  three"
    many = shown_lines("\n".join(map(str, range(1000)))).split("\n")
    assert many[-2:] == ["  39", "  ... (960 more lines)"]
    assert len(shown_lines("x" * 10**6)) < 2100


def test_a_report_is_shown_whole() -> None:
    """However long: it was asked for."""
    text = "\n".join("x" * 5000 for _ in range(100))
    assert shown_whole(text) == text
