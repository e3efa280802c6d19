"""``wasmpool run`` with an Extism plugin: each line is the input of one call."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.in_process import run_here
from tests.extism.tool_guest import write_guest, write_manifest

if TYPE_CHECKING:
    from pathlib import Path


def rows(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    return write_guest(tmp_path / "guest.wasm")


def test_a_line_is_an_input_as_it_stands(guest: Path) -> None:
    """Without its ending, also where it is JSON; the title says what is called."""
    ran = run_here("run", guest, "--tool", "echo", text='tëxt\n{"a": 1}\n\nlast')
    assert ran.returncode == 0
    assert rows(ran.stdout) == [{"data": each} for each in ("tëxt", '{"a": 1}', "", "last")]
    assert ran.stderr.startswith("wasmpool run: echo of guest\n")


def test_an_output_that_is_no_text_is_base64(tmp_path: Path, guest: Path) -> None:
    """The bytes of the line go in as they are."""
    lines = tmp_path / "lines"
    lines.write_bytes(b"\xff\xfe\n")
    (row,) = rows(run_here("run", guest, "--tool", "echo", "--input", lines).stdout)
    assert json.loads(row["data"]) == {"output_base64": b64encode(b"\xff\xfe").decode()}


def test_an_error_of_the_guest_is_that_of_the_line(guest: Path) -> None:
    """With its text; the other lines are not affected, and the status is 1."""
    ran = run_here("run", guest, "--tool", "fail", text="no\n")
    assert (ran.returncode, rows(ran.stdout)) == (1, [{"error": "no"}])
    ran = run_here("run", guest, "--tool", "crash", text="\n\n")
    assert ran.returncode == 1
    assert [row["error"].partition(": ")[0] for row in rows(ran.stdout)] == [
        "guest.crash trapped"
    ] * 2


def test_credentials_are_the_configuration(tmp_path: Path, guest: Path) -> None:
    """They come over that of the manifest."""
    manifest = write_manifest(tmp_path / "made.json", guest, config={"a": "theirs", "b": "kept"})
    ran = run_here("run", manifest, "--tool", "setting", "--credential", "a=ours", text="a\nb\n")
    assert rows(ran.stdout) == [{"data": "ours"}, {"data": "kept"}]


def test_no_host_is_reached_unless_allowed(tmp_path: Path, guest: Path) -> None:
    """Neither by a module nor by a manifest that allows it; a policy alone allows none of those."""
    manifest = write_manifest(tmp_path / "made.json", guest, allowed_hosts=["*"])
    for path, options in ((guest, ()), (manifest, ()), (guest, ("--allow-host", "a.example"))):
        ran = run_here(
            "run", path, "--tool", "fetch", *options, text='{"url": "http://127.0.0.1:9/"}\n'
        )
        (row,) = rows(ran.stdout)
        assert "is not allowed" in row["error"] or "forbidden by policy" in row["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("guest.wasm",), "plugin 'guest' has 6 tools, choose one with --tool: echo, fail,"),
        (("guest.wasm", "--tool", "sing"), "plugin 'guest' has no tool 'sing'; it has: echo"),
        (("guest.wasm", "--tool", "echo", "--", "x"), "is a plugin, which takes no arguments"),
        (("wrong.json", "--tool", "echo"), "the manifest has a member 'modules', which is none of"),
        (("paths.json", "--tool", "echo"), "asks for directories by allowed_paths"),
        (("gone.json", "--tool", "echo"), "cannot be read: No such file or directory"),
    ],
)
def test_wrong_use(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    """One sentence, and status 2."""
    guest = write_guest(tmp_path / "guest.wasm")
    write_manifest(tmp_path / "wrong.json", guest, modules=[])
    write_manifest(tmp_path / "paths.json", guest, allowed_paths={"/": "/"})
    write_manifest(tmp_path / "gone.json", tmp_path / "gone.wasm")
    ran = run_here("run", tmp_path / arguments[0], *arguments[1:], text="\n")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert message in ran.stderr


def test_a_missing_host_function_is_named(tmp_path: Path) -> None:
    """The command has none to give."""
    more = '(import "extism:host/user" "ask" (func (param i64) (result i64)))'
    guest = write_guest(tmp_path / "guest.wasm", first=more)
    ran = run_here("run", guest, "--tool", "echo", text="\n")
    assert ran.returncode == 2
    assert "extism:host/user.ask: (i64) -> (i64)" in ran.stderr
