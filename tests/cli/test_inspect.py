"""``wasmpool inspect`` as a user meets it: what it prints, and its exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.in_process import run_here
from tests.extism.tool_guest import write_guest, write_manifest

from wasmpool.example import PATH as EXAMPLE

GUESTS = Path(__file__).parent.parent / "guests"


def test_a_plugin_is_shown_whole() -> None:
    """Imports, exports, memory, what it says of itself, and the verdict."""
    done = run_here("inspect", EXAMPLE)
    assert (done.returncode, done.stderr) == (0, "")
    for part in (
        "env.host_http_request               (i64) -> (i64)  provided",
        "execute        (i64) -> (i64)  (contract)",
        "Memory: starts with 0.1 MiB",
        "abi_version      1",
        "text (required): the text to count",
        "Contract: a plugin of ABI version 1",
    ):
        assert part in done.stdout


def test_a_module_that_is_no_plugin_is_shown_from_outside() -> None:
    """With what it lacks."""
    done = run_here("inspect", GUESTS / "c_reactor.wasm")
    assert (done.returncode, done.stderr) == (1, "")
    assert "Imports" in done.stdout
    assert (
        "Contract: not a plugin that this host can run\n  name () -> (i64) is missing"
        in done.stdout
    )


def test_a_program_is_told_from_a_plugin(tmp_path: Path) -> None:
    """With the commands that run it, or what it imports that nobody provides."""
    done = run_here("inspect", GUESTS / "c_program.wasm")
    assert (done.returncode, done.stderr) == (1, "")
    assert "Contract: not a plugin, but a program for WASI\n  wasmpool exec FILE" in done.stdout
    program = tmp_path / "guest.wat"
    program.write_text('(module (import "a" "b" (func)) (func (export "_start")))')
    done = run_here("inspect", program)
    assert done.returncode == 1
    assert done.stdout.endswith(
        "Contract: a program for WASI that this host cannot run\n"
        "  module 'guest' imports what nobody provides:\n    a.b: () -> ()\n"
    )


def test_a_component_shows_its_world(tmp_path: Path) -> None:
    """In the notation of WIT, with what nobody provides; it is no plugin."""
    component = tmp_path / "guest.wat"
    component.write_text(
        """(component
          (import "a:b/c" (instance $c
            (export "r" (type $r (sub resource)))
            (export "f" (func (param "x" (list u8)) (result (option string))))))
          (import "wasi:random/random@0.2.0" (instance
            (export "get-random-u64" (func (result u64)))))
          (core module $m (func (export "run") (param i32) (result i32) i32.const 0))
          (core instance $i (instantiate $m))
          (func (export "run") (param "n" u32) (result (result))
            (canon lift (core func $i "run"))))"""
    )
    done = run_here("inspect", component)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        "World\n"
        "  import a:b/c\n"
        "    r: resource\n"
        "    f: func(x: list<u8>) -> option<string>  NOT PROVIDED by this host\n"
        "  import wasi:random/random@0.2.0\n"
        "    get-random-u64: func() -> u64\n"
        "  export run: func(n: u32) -> result\n"
        "\n"
        "Contract: not a plugin, but a component\n"
    )
    component.write_text("(component)")
    assert run_here("inspect", component).stdout.startswith("World: empty\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"root:x:0:0", "is no valid WebAssembly module: it begins with b'root'"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_what_is_no_module_is_wrong_use(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    """One sentence, and status 2."""
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    done = run_here("inspect", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_extism_plugin_is_shown(tmp_path: Path) -> None:
    """Which exports are tools, and how they are called."""
    done = run_here("inspect", write_guest(tmp_path / "guest.wasm"))
    assert (done.returncode, done.stderr) == (0, "")
    for part in (
        "extism:host/env.http_request  (i64, i64) -> (i64)  provided",
        "echo     () -> ()  (tool)",
        "takes    (i32) -> ()\n",
        "Memory: starts with 0.1 MiB",
        "Contract: an Extism plugin\n  wasmpool run FILE --tool EXPORT",
    ):
        assert part in done.stdout


def test_a_manifest_is_shown(tmp_path: Path) -> None:
    """What it says, but no value of its configuration, and then its module."""
    guest = write_guest(tmp_path / "guest.wasm")
    manifest = write_manifest(
        tmp_path / "made.json",
        guest,
        config={"token": "s3cret"},
        allowed_hosts=["*.example"],
        timeout_ms=1_500,
        memory={"max_pages": 40},
    )
    done = run_here("inspect", manifest)
    assert done.returncode == 0
    head, _, rest = done.stdout.partition("\n\n")
    assert [line.split(maxsplit=1) for line in head.splitlines()[1:]] == [
        ["module", str(guest)],
        ["config", "token"],
        ["allowed_hosts", "*.example"],
        ["max_pages", "40"],
        ["timeout", "1.5 s"],
    ]
    assert rest.startswith("Imports\n")
    assert "s3cret" not in done.stdout


def test_an_extism_plugin_that_needs_an_application_is_told(tmp_path: Path) -> None:
    """What is missing is marked and named, and the status is 1."""
    first = '(import "extism:host/user" "ask" (func (param i64) (result i64)))'
    done = run_here("inspect", write_guest(tmp_path / "guest.wasm", first=first))
    assert done.returncode == 1
    assert "extism:host/user.ask          (i64) -> (i64)  NOT PROVIDED" in done.stdout
    assert "Contract: an Extism plugin that this command cannot run\n  module" in done.stdout
    paths = write_manifest(
        tmp_path / "made.json", write_guest(tmp_path / "b.wasm"), allowed_paths={"/": "/"}
    )
    done = run_here("inspect", paths)
    assert done.returncode == 1
    assert "asks for directories by allowed_paths" in done.stdout


def test_a_manifest_that_is_wrong_is_wrong_use(tmp_path: Path) -> None:
    """The sentence names the file and the member; so it does for a digest, or a missing module."""
    guest = write_guest(tmp_path / "guest.wasm")
    wrong = tmp_path / "made.json"
    for more, message in (
        ({"confg": {}}, f"{str(wrong)!r}: the manifest has a member 'confg'"),
        ({"wasm": [{"path": str(guest), "hash": "0" * 64}]}, "has the SHA-256"),
        (
            {"wasm": [{"path": str(tmp_path / "no")}]},
            f"Error: the module {tmp_path / 'no'} of {wrong} cannot be read: No such file",
        ),
        ({"wasm": [{"path": "/dev/null"}]}, "Error: the module /dev/null of "),
    ):
        done = run_here("inspect", write_manifest(wrong, guest, **more))
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
