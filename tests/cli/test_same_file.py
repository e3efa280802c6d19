"""What a run reads is not what it writes, by whatever names."""

from __future__ import annotations

import os
import pty
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.cli.in_fork import started
from tests.cli.in_process import run_here, run_line

from wasmpool._cli.file_identity import identity_of, shared_file
from wasmpool.example import PATH as EXAMPLE

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 60
"""A run that reads what it writes ends by this."""

RUN = shlex.join([sys.executable, "-W", "error", "-m", "wasmpool", "run"])

TEXT = "a line of text\n" * 20_000


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to work in, with an input under several names and a plugin."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").write_text(TEXT)
    (tmp_path / "hard").hardlink_to("in")
    (tmp_path / "soft").symlink_to("in")
    shutil.copyfile(EXAMPLE, tmp_path / "p.wasm")
    (tmp_path / "soft.wasm").symlink_to("p.wasm")
    return tmp_path


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", line],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "one", "other"),
    [
        ("--input in --output in", "the input in", "the output in"),
        ("--input in --output ./in", "the input in", "the output ./in"),
        ("--input in --output hard", "the input in", "the output hard"),
        ("--input soft --output in", "the input soft", "the output in"),
        ("--input - --output in <in", "standard input", "the output in"),
        ("--input - --output soft <hard", "standard input", "the output soft"),
        ("p.wasm --tool word_count --output in <in", "standard input", "the output in"),
        ("--input in >>in", "the input in", "standard output"),
        ("--input in 1<>in", "the input in", "standard output"),
        ("--input - <in >>hard", "standard input", "standard output"),
        ("--input /dev/stdin --output in <in", "the input /dev/stdin", "the output in"),
        ("--input in --output /dev/stdout >>in", "the input in", "the output /dev/stdout"),
        ("--input in --output /proc/self/fd/1 >>in", "the input in", "the output /proc/self/fd/1"),
    ],
)
def test_an_input_that_is_the_output_is_refused_and_kept(
    line: str, one: str, other: str, directory: Path
) -> None:
    """Before anything is written or emptied: status 2, and a sentence that names both."""
    ran = run_line(f"run {line}")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        f"Error: {one} and {other} are the same file, which would be overwritten; choose another\n"
    )
    assert (directory / "in").read_text() == TEXT


def test_an_input_that_is_an_inherited_descriptor_is_refused_and_kept(directory: Path) -> None:
    """The output is the file, whatever the number that the shell opened it under."""
    ran = shell(f"exec {RUN} --input in --output /dev/fd/3 3>>in")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "Error: the input in and the output /dev/fd/3 are the same file,"
        " which would be overwritten;"
        " choose another\n"
    )
    assert (directory / "in").read_text() == TEXT


@pytest.mark.parametrize(
    ("line", "one", "other"),
    [
        ("p.wasm --output p.wasm", "the plugin p.wasm", "the output p.wasm"),
        ("soft.wasm --output ./p.wasm", "the plugin soft.wasm", "the output ./p.wasm"),
        ("p.wasm >>p.wasm", "the plugin p.wasm", "standard output"),
    ],
)
def test_a_plugin_that_is_the_output_is_refused_and_kept(
    line: str, one: str, other: str, directory: Path
) -> None:
    """Also as standard output."""
    ran = run_line(f"run --tool word_count --input in {line}")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        f"Error: {one} and {other} are the same file, which would be overwritten; choose another\n"
    )
    assert (directory / "p.wasm").read_bytes() == EXAMPLE.read_bytes()


@pytest.mark.parametrize("plugin", ["", "p.wasm"])
def test_messages_are_not_read_as_input(plugin: str, directory: Path) -> None:
    """Standard error is compared, too: only the refusal is appended to the file."""
    ran = run_line(f"run {plugin} --tool word_count --input in 2>>in")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert (directory / "in").read_text() == (
        f"{TEXT}Error: the input in and standard error are the same file,"
        " which would be overwritten;"
        " choose another\n"
    )


def test_messages_and_results_do_not_overwrite_each_other(directory: Path) -> None:
    """A file opened twice, as output and as standard error, is refused and keeps its lines."""
    (directory / "log").write_text("old\n")
    ran = run_line("run --input in --output log 2>>log")
    assert ran.returncode == 2
    old, refusal = (directory / "log").read_text().splitlines()
    assert old == "old"
    assert refusal.startswith("Error: the output log and standard error are the same file")


def test_standard_output_and_error_may_be_one(directory: Path) -> None:
    """`2>&1` is one opened file: results and table follow each other."""
    (directory / "few").write_text("a line of text\n" * 2_000)
    ran = run_line("run --input few >log 2>&1")
    assert ran.returncode == 0
    lines = (directory / "log").read_text().splitlines()
    assert lines[0].startswith('{"data": ')
    assert lines[2_000] == "wasmpool run: word_count of example"


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "log"])
def test_standard_output_by_another_name_goes_on_where_it_is(name: str, directory: Path) -> None:
    """What was in a file that is appended to stays there."""
    (directory / "log").write_text("old\n")
    args = ["run", "--input", "-", "--output", name]
    ran = run_here(*args, text="one\ntwo\n", redirections=[">>log"])
    assert ran.returncode == 0
    old, one, two = (directory / "log").read_text().splitlines()
    assert old == "old"
    assert one.startswith('{"data": ')
    assert two.startswith('{"data": ')


def test_a_plugin_may_be_the_input(directory: Path) -> None:
    """Odd and harmless: nothing is written to it."""
    ran = run_line("run p.wasm --tool word_count --input p.wasm --output out")
    assert ran.returncode == 1  # few of its lines are UTF-8
    assert (directory / "p.wasm").read_bytes() == EXAMPLE.read_bytes()


def test_a_terminal_a_pipe_and_the_null_device_may_be_both() -> None:
    """They are not lost by being written; nothing that was written is read by mistake."""
    assert run_line("run --input /dev/null --output /dev/null").returncode == 0
    args = ["run", "--input", "/dev/stdin", "--output", "/dev/stdout"]
    assert run_here(*args, text="word\n").returncode == 0
    terminal, inner = pty.openpty()
    name = os.ttyname(inner)
    with started("run", "--input", name, "--output", name) as process:
        os.write(terminal, b"one two\n\x04")
        assert process.wait() == 0
    shown = os.read(terminal, 65536)
    os.close(inner)
    os.close(terminal)
    assert shown.count(b'{"data": ') == 1


def test_identities_are_of_files_and_block_devices(directory: Path) -> None:
    """By descriptor and by name; what may be read and written at once has none."""
    file = identity_of("in")
    assert file is not None
    assert identity_of("hard") == identity_of(directory / "soft") == file
    with (directory / "in").open("rb") as opened:
        assert identity_of(opened.fileno()) == file
    assert identity_of("p.wasm") not in (None, file)
    assert identity_of("missing") is None
    assert identity_of(".") is None
    assert identity_of("/dev/null") is None
    reading, writing = os.pipe()
    assert identity_of(reading) is identity_of(writing) is None
    os.close(reading)
    os.close(writing)


def test_what_has_no_identity_is_shared_with_nothing() -> None:
    """Two unknown things are not one."""
    one, two = ("file", 1, 1), ("file", 1, 2)
    assert shared_file({"a": None, "b": one}, {"c": None, "d": two}) is None
    assert shared_file({"a": None, "b": one}, {"c": two, "d": one}) == ("b", "d")
