"""What the command refuses, each with a sentence and status 2."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from tests.cli.in_process import run_here

from wasmpool._cli import serve_command
from wasmpool._serve import config_file

if TYPE_CHECKING:
    from pathlib import Path


def refusal(*args: str | Path) -> str:
    ran = run_here("serve", *args)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "Traceback" not in ran.stderr
    return ran.stderr


def test_an_address_that_others_can_reach_needs_a_token() -> None:
    """The sentence says how to set one."""
    said = refusal("--http", "0.0.0.0:0")
    assert "Error: 0.0.0.0:0 can be reached by other machines, so a token is required: set" in said


def test_an_address_that_is_in_use_is_named() -> None:
    """With one process, and with workers."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for workers in ("1", "2"):
            said = refusal("--http", address, "--workers", workers)
            assert said.endswith(f"Error: cannot listen at {address}: Address already in use\n")


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--http", "8000"], "Error: --http must be HOST:PORT, such as 127.0.0.1:8000 or"),
        (["--http", "no.invalid:1"], "no.invalid:1 can be reached by other machines"),
        (["--workers", "2"], "Error: 2 workers need an address: they share the socket of http"),
        (["--workers", "0"], "Invalid value for '--workers'"),
        (["--threads", "2"], "Error: 2 threads need an address: they share the socket of http"),
        (
            ["--http", "127.0.0.1:0", "--threads", "2", "--workers", "2"],
            "Error: there are both workers and threads: give one of them",
        ),
        (["--tools", "all"], "Invalid value for '--tools'"),
        (
            ["--config", "missing.toml"],
            "missing.toml: it cannot be read: No such file or directory",
        ),
        (["mistyped.wasm"], "/mistyped.wasm: there is no such file or directory\n"),
    ],
)
def test_what_cannot_be_served(args: list[str], sentence: str) -> None:
    """It says what is wrong."""
    assert sentence in refusal(*args)


def test_threads_need_a_python_without_the_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what does the same with processes."""
    monkeypatch.setattr(config_file, "has_gil", lambda: True)
    said = refusal("--http", "127.0.0.1:0", "--threads", "3")
    assert "Error: threads = 3 needs a free-threaded Python, " in said
    assert said.endswith(": use workers = 3\n")


def test_an_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setattr(serve_command, "EXTRA", ("mcp", "no_such_module"))
    said = refusal()
    assert said == (
        "Error: serving needs more than is installed (no_such_module): "
        'pip install "wasmpool[serve]"\n'
    )
    monkeypatch.undo()
    monkeypatch.setattr(serve_command, "SCRIPTS_EXTRA", ("no_such_module",))
    assert 'pip install "wasmpool[scripts]"' in refusal("--scripts")
