"""Compiled code on disk: found again, never trusted when damaged, shared by processes."""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.processes import run_script

from wasmpool_host import Module, _capi, host_function
from wasmpool_host._compile import cache as cache_module
from wasmpool_host._regular_file import open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLUGIN_IMPORTS = [
    host_function("env", "host_http_request", params=("i64",), results=("i64",))(lambda *_: 0),
    host_function("env", "host_log", params=("i32", "i32"))(lambda *_: None),
]

SEVEN = '(module (func (export "f") (result i32) (i32.const 7)))'
EIGHT = SEVEN.replace("7", "8")


async def result(text: str, directory: Path) -> object:
    """Compile with the cache, and call."""
    module = await Module.compile(text, cache=directory)
    instance = await module.instantiate()
    try:
        return await instance.call("f")
    finally:
        await instance.aclose()


async def test_the_second_time_nothing_is_compiled(
    tmp_path: Path, compiled_here: list[int]
) -> None:
    """One entry for each module; the directory is created if it is missing."""
    directory = tmp_path / "some" / "where"
    assert await result(SEVEN, directory) == 7
    assert await result(EIGHT, directory) == 8
    assert len(compiled_here) == 2
    assert await result(SEVEN, directory) == 7
    assert await result(EIGHT, directory) == 8
    assert len(compiled_here) == 2
    assert len(list(directory.iterdir())) == 2


@pytest.mark.parametrize(
    "damage", ["cut", "empty", "flipped", "foreign", "rubbish with a checksum"]
)
async def test_a_damaged_entry_is_compiled_again_and_replaced(
    tmp_path: Path, compiled_here: list[int], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """It is detected before any of it runs, and logged."""
    assert await result(SEVEN, tmp_path) == 7
    (entry,) = tmp_path.iterdir()
    whole = entry.read_bytes()
    rubbish = b"rubbish" * 100
    entry.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "empty": b"",
            "flipped": whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
            "foreign": rubbish,
            "rubbish with a checksum": rubbish + cache_module.checksum(rubbish),
        }[damage]
    )
    with caplog.at_level(logging.WARNING, "wasmpool.cache"):
        assert await result(SEVEN, tmp_path) == 7
    assert "compiling again" in caplog.text
    assert len(compiled_here) == 2
    assert entry.read_bytes() == whole
    assert await result(SEVEN, tmp_path) == 7
    assert len(compiled_here) == 2


STEP = """(local.set 0 (i32.xor (i32.mul (local.get 0) (i32.const 31))
  (i32.load (i32.and (local.get 0) (i32.const 1023)))))"""
FUNCTION = f"(func (param i32) (result i32) {STEP * 20} (local.get 0))"


@pytest.mark.alone
@pytest.mark.parametrize(
    "guest", ["a thousand functions", pytest.param("go_plugin.wasm", marks=pytest.mark.slow)]
)
async def test_a_large_guest_loads_in_a_fraction_of_its_compile_time(
    tmp_path: Path, guest: str
) -> None:
    """Of 350 KB, or from the Go compiler, of 3 MB: less than a twentieth of the time."""
    source: Path | bytes = Path(__file__).parent.parent / "guests" / guest
    if guest == "a thousand functions":
        source = _capi.text_to_binary(f"(module (memory 1) {FUNCTION * 1_000})")

    async def seconds() -> float:
        began = time.perf_counter()
        await Module.compile(source, imports=PLUGIN_IMPORTS, cache=tmp_path)
        return time.perf_counter() - began

    first = await seconds()
    assert min([await seconds() for _ in range(5)]) < first / 20


async def test_another_version_does_not_find_it(
    tmp_path: Path, compiled_here: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key includes what the code depends on."""
    await result(SEVEN, tmp_path)
    monkeypatch.setattr(_capi, "engine_key", lambda: "wasmtime-0.0.0")
    await result(SEVEN, tmp_path)
    assert len(compiled_here) == 2


async def test_a_cache_that_cannot_be_written_is_slow_and_not_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged."""
    (tmp_path / "file").write_text("no directory")
    assert await result(SEVEN, tmp_path / "file") == 7
    assert "cannot write cache entry" in caplog.text


OTHER = 54_321  # a user who is neither this one nor root


def _entry(directory: Path) -> Path:
    (entry,) = (each for each in directory.iterdir() if each.suffix == ".cwasm")
    return entry


def _put_in_place(how: str, entry: Path, elsewhere: Path) -> None:
    """What another user could put in the place of an entry."""
    elsewhere.mkdir(mode=0o700)
    if how in {"symlink", "second name"}:
        entry.rename(elsewhere / "code")
        make = entry.symlink_to if how == "symlink" else entry.hardlink_to
        make(elsewhere / "code")
    elif how in {"written by the group", "written by all"}:
        entry.chmod(0o620 if "group" in how else 0o602)
    elif how == "huge":
        os.truncate(entry, 1 << 40)
    else:
        entry.unlink()
        makers: dict[str, Callable[[Path], None]] = {
            "FIFO": os.mkfifo,
            "directory": os.mkdir,
            "dangling": partial(os.symlink, "/none"),
        }
        makers[how](entry)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("symlink", "it is a symbolic link, not a regular file"),
        ("dangling", "it is a symbolic link, not a regular file"),
        ("FIFO", "it is a FIFO, not a regular file"),
        ("directory", "Is a directory"),
        ("second name", "it has 2 names"),
        ("written by the group", "others can write to it: its mode is 0o620"),
        ("written by all", "others can write to it: its mode is 0o602"),
        ("huge", "it has more than 2,147,483,648 bytes"),
    ],
)
async def test_an_entry_that_others_may_have_made_is_not_run(
    tmp_path: Path,
    compiled_here: list[int],
    caplog: pytest.LogCaptureFixture,
    how: str,
    why: str,
) -> None:
    """It is compiled again, the log says why, nothing hangs, and the next entry is ours."""
    directory = tmp_path / "cache"
    assert await result(SEVEN, directory) == 7
    _put_in_place(how, _entry(directory), tmp_path / "elsewhere")
    with caplog.at_level(logging.WARNING, "wasmpool.cache"):
        assert await result(SEVEN, directory) == 7
    assert why in caplog.text
    assert len(compiled_here) == 2
    if how != "directory":  # which stays, and is logged as what cannot be replaced
        assert await result(SEVEN, directory) == 7
        assert len(compiled_here) == 2
    assert [each for each in directory.iterdir() if each.suffix != ".cwasm"] == []


async def test_an_entry_of_another_user_is_not_run(
    tmp_path: Path,
    compiled_here: list[int],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a directory of this user, whatever the mode of the entry."""
    assert await result(SEVEN, tmp_path) == 7

    @contextmanager
    def of_another(path: str, **options: Any) -> Iterator[tuple[int, os.stat_result]]:
        with open_regular(path, **options) as (fd, status):
            yield fd, os.stat_result((*status[:4], OTHER, *status[5:]))

    monkeypatch.setattr(cache_module, "open_regular", of_another)
    assert await result(SEVEN, tmp_path) == 7
    assert f"it belongs to user {OTHER}" in caplog.text
    assert len(compiled_here) == 2


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o720, 0o702])
async def test_a_directory_that_others_can_write_to_is_refused(
    tmp_path: Path, mode: int, compiled_here: list[int]
) -> None:
    """The message names its path and its mode; nothing is compiled."""
    directory = tmp_path / "open"
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(
        ValueError, match=rf"open' can be written by other users.*mode is {mode:#o}:"
    ):
        await Module.compile(SEVEN, cache=directory)
    assert compiled_here == []
    assert list(directory.iterdir()) == []


async def test_a_directory_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However private it is: the other user decides what is in it."""
    monkeypatch.setattr(cache_module, "trusted_users", lambda: frozenset({OTHER}))
    with pytest.raises(ValueError, match=rf"it belongs to user {os.geteuid()}, and this process"):
        await Module.compile(SEVEN, cache=tmp_path)


async def test_a_sticky_directory_will_do(tmp_path: Path, compiled_here: list[int]) -> None:
    """Others can add files to it, as to /tmp, but cannot replace ours."""
    tmp_path.chmod(0o1777)
    assert await result(SEVEN, tmp_path) == 7
    assert await result(SEVEN, tmp_path) == 7
    assert len(compiled_here) == 1


async def test_the_cache_creates_private_files(tmp_path: Path) -> None:
    """The directory and its entries, whatever the umask."""
    before = os.umask(0)
    try:
        assert await result(SEVEN, tmp_path / "made") == 7
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700
    assert _entry(tmp_path / "made").stat().st_mode & 0o777 == 0o600


async def test_a_directory_that_is_exchanged_after_it_was_looked_at_is_of_no_effect(
    tmp_path: Path, compiled_here: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry is read from the directory that was checked, not from where its path leads then."""
    ours, theirs = tmp_path / "cache", tmp_path / "theirs"
    assert await result(SEVEN, ours) == 7
    assert await result(EIGHT, theirs) == 8
    _entry(theirs).rename(theirs / _entry(ours).name)
    real = cache_module._check_private

    def exchange(status: os.stat_result, directory: Path) -> None:
        real(status, directory)
        if theirs.exists():
            directory.rename(tmp_path / "away")
            theirs.rename(directory)

    monkeypatch.setattr(cache_module, "_check_private", exchange)
    assert await result(SEVEN, ours) == 7
    assert not theirs.exists()
    assert len(compiled_here) == 2


async def test_processes_share_a_directory(tmp_path: Path) -> None:
    """Many at once, with an empty cache: each gets its module, and one complete entry is left."""
    code = f"""
import os, sys, trio
from pathlib import Path
from wasmpool_host import Module
async def main():
    module = await Module.compile({SEVEN!r}, cache=Path(sys.argv[1]))
    instance = await module.instantiate()
    assert await instance.call("f") == 7
    await instance.aclose()
others = []
for _ in range(3):
    if not (other := os.fork()):
        others.clear()
        break
    others.append(other)
trio.run(main)
for other in others:
    assert os.waitpid(other, 0)[1] == 0
"""
    done = run_script(code, args=[str(tmp_path)], timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.iterdir())) == 1
    assert await result(SEVEN, tmp_path) == 7
