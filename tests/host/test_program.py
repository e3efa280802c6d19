"""`Instance.run`: a program in a world of its own, and what it leaves."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

import pytest
import trio

from wasmpool_host import (
    CallTimeout,
    Completed,
    GuestExit,
    GuestTrap,
    Instance,
    InstancePoisoned,
    Limits,
    Module,
    Preopen,
    Wasi,
)

PROGRAM = Path(__file__).parents[1] / "guests" / "c_program.wasm"


@pytest.fixture
async def module() -> Module:
    return await Module.compile(PROGRAM)


async def once(module: Module, *words: str, **options: Any) -> Completed:
    """Run the program in a new instance."""
    instance = await module.instantiate()
    try:
        return await instance.run(["program", *words], **options)
    finally:
        await instance.aclose()


async def test_its_arguments_are_all_of_them(module: Module) -> None:
    """The program's own name first, as for a subprocess."""
    done = await once(module, "args", "one", "two words")
    assert done == Completed(
        args=("program", "args", "one", "two words"),
        returncode=0,
        stdout=b"program\nargs\none\ntwo words\n",
    )


async def test_without_arguments_it_gets_the_modules() -> None:
    """Those of its `Wasi`, or its name alone."""
    module = await Module.compile(PROGRAM, wasi=Wasi(args=["p", "args", "x"]))
    instance = await module.instantiate()
    assert (await instance.run()).stdout == b"p\nargs\nx\n"
    await instance.aclose()
    module = await Module.compile(PROGRAM)
    instance = await module.instantiate()
    done = await instance.run()
    assert (done.args, done.returncode, done.stderr) == (("c_program",), 2, b"wrong use\n")
    await instance.aclose()


async def test_what_a_run_does_not_say_is_the_modules(tmp_path: Path) -> None:
    """Environment and preopened directories."""
    (tmp_path / "file").write_text("on disk")
    wasi = Wasi(env={"A": "1"}, preopens={"/disk": tmp_path})
    module = await Module.compile(PROGRAM, wasi=wasi)
    assert (await once(module, "env")).stdout == b"A=1\n"
    assert (await once(module, "env", env={})).stdout == b""
    assert (await once(module, "list", "/disk")).stdout == b"file\n"
    assert (await once(module, "list", "/disk", preopens={})).returncode == 1
    done = await once(module, "copy", "/disk/file", "/copy", files={}, collect=["copy"])
    assert done.files == {"/copy": b"on disk"}


@pytest.mark.parametrize("status", [0, 1, 42, 255])
async def test_its_status_is_the_return_code(module: Module, status: int) -> None:
    """Of an exit as of a return; with ``check`` it is an error unless it is 0."""
    done = await once(module, "exit", str(status))
    assert done.returncode == status
    if not status:
        assert (await once(module, "exit", "0", check=True)).returncode == 0
        done.check_returncode()
        return
    with pytest.raises(GuestExit) as caught:
        await once(module, "exit", str(status), check=True)
    assert caught.value.status == status
    with pytest.raises(GuestExit):
        done.check_returncode()


async def test_an_exit_carries_what_was_printed(module: Module) -> None:
    """With ``check``: the output, and a note with the last lines of stderr."""
    with pytest.raises(GuestExit) as caught:
        await once(module, "copy", "/nowhere", "/x", check=True)
    assert caught.value.stderr == b"/nowhere: errno 44\n"
    assert caught.value.__notes__ == ["the guest's stderr ended with\n  /nowhere: errno 44"]


async def test_an_instance_runs_once(module: Module) -> None:
    """Another run or call is refused."""
    instance = await module.instantiate()
    await instance.run(["program", "env"])
    assert instance.poisoned == "finished"
    with pytest.raises(InstancePoisoned, match="finished"):
        await instance.run(["program", "env"])
    await instance.aclose()


async def test_a_call_of_start_ends_the_same_way() -> None:
    """Status 0 is a return; another one is an error. Either way the instance has done its work."""
    for words, poison in ((["p", "env"], "finished"), (["p", "exit", "0"], "finished")):
        module = await Module.compile(PROGRAM, wasi=Wasi(args=words))
        instance = await module.instantiate()
        assert await instance.call("_start") is None
        assert instance.poisoned == poison
        await instance.aclose()
    module = await Module.compile(PROGRAM, wasi=Wasi(args=["p", "exit", "3"]))
    instance = await module.instantiate()
    with pytest.raises(GuestExit):
        await instance.call("_start")
    assert instance.poisoned == "exit"
    await instance.aclose()


async def test_an_export_may_return_its_code() -> None:
    """Of type () -> (i32); other types are refused before anything runs."""
    text = """(module
        (func (export "run") (result i32) i32.const 7)
        (func (export "f") (param i32)))"""
    instance = await (await Module.compile(text)).instantiate()
    with pytest.raises(TypeError, match="a program is"):
        await instance.run(export="f")
    assert (await instance.run(export="run")).returncode == 7
    await instance.aclose()


# --- output ---


async def test_captured_output_is_bounded(module: Module) -> None:
    """The rest is dropped, and ``truncated`` names the stream; the guest is not told."""
    done = await once(module, "cat", stdin=b"x" * 100_000, capture_limit=1000)
    assert (done.stdout, set(done.truncated)) == (b"x" * 1000, {"stdout"})
    done = await once(module, "cat", stdin=b"x" * 1000, capture_limit=1000)
    assert (done.stdout, done.truncated) == (b"x" * 1000, frozenset())


async def test_output_may_go_elsewhere(module: Module, caplog: pytest.LogCaptureFixture) -> None:
    """To a function, to the log, or nowhere, as for `Wasi`."""
    seen: list[bytes] = []
    caplog.set_level(logging.INFO)
    done = await once(module, "say", "one", "two", stdout=seen.append, stderr="log")
    assert (done.stdout, done.stderr, b"".join(seen)) == (b"", b"", b"one")
    assert [record.getMessage() for record in caplog.records] == ["two"]
    assert (await once(module, "say", "one", "two", stdout=None)).stdout == b""


# --- files ---


async def test_its_files_are_its_own(module: Module) -> None:
    """They are there, can be changed, and are collected by patterns; directories come with them."""
    files = {"/in/a.txt": b"a", "/in/deep/er/b.txt": b"b", "c.bin": b"c"}
    done = await once(module, "move", "/in/a.txt", "/in/deep/a.md", files=files, collect=["**"])
    assert done.files == {"/in/deep/er/b.txt": b"b", "/c.bin": b"c", "/in/deep/a.md": b"a"}
    done = await once(module, "env", files=files, collect=["in/**/*.txt", "/none/*"])
    assert set(done.files) == {"/in/a.txt", "/in/deep/er/b.txt"}
    assert (await once(module, "env", files=files, collect=["*.txt"])).files == {}
    assert files["/in/a.txt"] == b"a"


async def test_a_full_tree_is_the_guests_error(module: Module) -> None:
    """``ENOSPC``, with what fitted written; names count."""
    done = await once(module, "fill", "/file", files={}, files_limit=100_000)
    errno, written = map(int, done.stdout.split())
    assert errno == 51
    assert 99_000 < written < 100_000 - len("file")


async def test_relative_paths_lead_to_its_files(module: Module) -> None:
    """The working directory is the root of the tree."""
    done = await once(module, "append", "log", "x", files={"log": b"y"}, collect=["log"])
    assert done.files == {"/log": b"yx"}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"files": {"/a/../b": b""}}, ValueError, "no path of a file"),
        ({"files": {"": b""}}, ValueError, "no path of a file"),
        ({"files": {"/": b""}}, ValueError, "no path of a file"),
        ({"files": {"/a\0b": b""}}, ValueError, "no path of a file"),
        ({"files": {"/a": b"", "a": b""}}, ValueError, "given twice"),
        ({"files": {"/a": b"", "/a/b": b""}}, ValueError, "which is a file"),
        ({"files": {"/a/b": b"", "/a": b""}}, ValueError, "given twice, or is a directory"),
        ({"files": {"/" + "a" * 256: b""}}, ValueError, "more than 255 bytes"),
        ({"files": {"/a": "text"}}, TypeError, "must be bytes"),
        ({"files": {b"/a": b""}}, TypeError, "must be a str"),
        ({"files": [b"/a"]}, TypeError, "mapping"),
        ({"files": {"/a": b"x" * 1000}, "files_limit": 1000}, ValueError, "files_limit=1,000"),
        ({"files_limit": -1}, ValueError, "files_limit must be 0 or more"),
        ({"capture_limit": 1.5}, TypeError, "capture_limit must be a number"),
        ({"collect": "*"}, TypeError, "sequence of patterns"),
        ({"collect": ["*"]}, ValueError, "it has none"),
        ({"stdin": "text"}, TypeError, "stdin"),
        ({"env": {"": ""}}, ValueError, "env"),
        ({"stdout": 1}, TypeError, "stdout"),
        ({"files": {}, "preopens": {"/": "."}}, ValueError, "preopen of that name"),
    ],
)
async def test_what_cannot_be_given_is_refused(
    module: Module, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    """The message names it, and the instance can still be used."""
    instance = await module.instantiate()
    with pytest.raises(error, match=words):
        await instance.run(["program", "env"], **options)
    assert instance.poisoned is None
    await instance.aclose()


async def test_a_pattern_takes_no_exponential_time(module: Module) -> None:
    """Many ``**`` in a row are one table, not a search."""
    deep = "/".join("a" * 100)
    done = await once(module, "env", files={deep: b""}, collect=["**/a/" * 40 + "b"])
    assert done.files == {}


# --- its end ---


async def test_nothing_is_left_of_many_runs(module: Module, tmp_path: Path) -> None:
    """No descriptor, and nothing on the host's disk."""
    await once(module, "env")  # what the run of the test itself opens
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        await once(module, "append", "/file", "x", files={}, preopens={"/disk": Preopen(tmp_path)})
    assert len(list(Path("/proc/self/fd").iterdir())) == before


SAYS_AND_SPINS = """(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\10\\00\\00\\00\\05\\00\\00\\00") (data (i32.const 16) "heard")
  (func (export "_start")
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
    (loop $again (br $again))))"""


@pytest.mark.parametrize("words", ["list /disk", "exit 3", "panic x", "spin"])
async def test_its_descriptors_are_closed_when_it_ends(
    module: Module, tmp_path: Path, words: str
) -> None:
    """The instance may be closed later."""
    instance = await module.instantiate()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with (
        trio.move_on_after(0.05 if words == "spin" else 60),
        contextlib.suppress(GuestTrap),
    ):
        await instance.run(["p", *words.split()], files={}, preopens={"/disk": tmp_path})
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    await instance.aclose()


async def test_a_limit_ends_it() -> None:
    """``call_seconds`` bounds a run as it does a call; what it has printed is on the error."""
    module = await Module.compile(SAYS_AND_SPINS, limits=Limits(call_seconds=0.05))
    with pytest.raises(CallTimeout, match="took longer") as caught:
        await once(module)
    assert caught.value.stderr == b"heard"
    assert caught.value.__notes__ == ["the guest's stderr ended with\n  heard"]


async def test_a_cancel_at_its_first_checkpoint_runs_nothing(module: Module) -> None:
    """And leaves the instance as it was."""
    instance: Instance = await module.instantiate()
    with trio.CancelScope() as scope:
        scope.cancel()
        await instance.run(["program", "env"])
    assert scope.cancelled_caught
    assert instance.poisoned is None
    await instance.aclose()
