"""`Loader.watch`: a directory's plugins follow its files."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import threading
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from wasmpool._errors import PoolUnavailable
from wasmpool._plugin import plugin_files
from wasmpool._plugin import watch as watch_module
from wasmpool._plugin.loader import Loader, open_loader
from wasmpool._plugin.registry import PluginRegistry
from wasmpool._plugin.tool_result import ToolResult
from wasmpool_host import CompileError
from wasmpool_host._capi import text_to_binary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

pytestmark = pytest.mark.usefixtures("quick_watch")


@pytest.fixture
def binary(wat: Callable[..., str]) -> Callable[..., bytes]:
    """The plugin by hand as a file has it."""
    return lambda **replaced: text_to_binary(wat(**replaced))


def version(loader: Loader, name: str) -> str:
    metadata = loader.plugins[name].metadata
    return metadata.version if metadata else ""


async def test_plugins_follow_their_files(
    tmp_path: Path, binary: Callable[..., bytes], caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    """Files that are there, come, change, break, are mended and go."""
    caplog.set_level(logging.INFO, logger="wasmpool.loader")
    (tmp_path / "first.wasm").write_bytes(binary())
    (tmp_path / "other.txt").write_text("no plugin")
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, tmp_path)
        assert list(loader.plugins) == ["first"]
        first = loader.plugins["first"]
        assert first.name == "first"

        (tmp_path / "second.wasm").write_bytes(binary())
        await until(lambda: "second" in loader.plugins)

        (tmp_path / "first.wasm").write_bytes(binary(version="v2"))
        await until(lambda: version(loader, "first") == "v2")
        assert loader.plugins["first"] is first

        (tmp_path / "first.wasm").write_bytes(binary(version="v3")[:-100])
        await until(lambda: "'first' goes on as before: CompileError" in caplog.text)
        assert caplog.text.count("goes on") == 1
        assert await first.execute("version") == ToolResult("v2")

        (tmp_path / "first.wasm").write_bytes(binary(version="v3"))
        await until(lambda: version(loader, "first") == "v3")

        (tmp_path / "second.wasm").unlink()
        await until(lambda: "second" not in loader.plugins)
        assert loader.plugins["first"] is first
        nursery.cancel_scope.cancel()
    assert first.closed


async def test_a_file_that_is_broken_from_the_start(
    tmp_path: Path, binary: Callable[..., bytes], caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    """It is logged and does not keep the others from serving; mended, it is loaded."""
    (tmp_path / "broken.wasm").write_bytes(binary(abi="2"))
    (tmp_path / "good.wasm").write_bytes(binary())
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, tmp_path)
        assert list(loader.plugins) == ["good"]
        assert "plugin 'broken' is not loaded: AbiError: ABI version 2" in caplog.text
        (tmp_path / "broken.wasm").write_bytes(binary())
        await until(lambda: "broken" in loader.plugins)
        nursery.cancel_scope.cancel()


async def test_a_file_that_is_replaced_in_one_step(
    tmp_path: Path, binary: Callable[..., bytes], until: Until
) -> None:
    """As careful deployments do: a rename over the old file."""
    (tmp_path / "mine.wasm").write_bytes(binary())
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, tmp_path)
        (tmp_path / "mine.new").write_bytes(binary(version="v2"))
        (tmp_path / "mine.new").rename(tmp_path / "mine.wasm")
        await until(lambda: version(loader, "mine") == "v2")
        nursery.cancel_scope.cancel()


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """The OSError comes out as itself."""
    async with open_loader() as loader:
        with pytest.raises(FileNotFoundError):
            await loader.watch(tmp_path / "missing")


async def test_what_is_no_directory() -> None:
    """A TypeError by itself, before anything is watched."""
    async with open_loader() as loader:
        with pytest.raises(TypeError, match="takes the path of a directory, not None"):
            await loader.watch(None)  # type: ignore[arg-type]


async def test_a_closed_loader_watches_nothing(tmp_path: Path) -> None:
    """It says so, as `load` does."""
    async with open_loader() as loader:
        pass
    with pytest.raises(RuntimeError, match="the loader is closed"):
        await loader.watch(tmp_path)


async def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra."""
    monkeypatch.setitem(__import__("sys").modules, "watchfiles", None)
    async with open_loader() as loader:
        with pytest.raises(ModuleNotFoundError, match=r'pip install "wasmpool\[plugin\]"'):
            await loader.watch(tmp_path)


# --- what is a plugin's file ---


async def test_hidden_and_temporary_files_are_left_alone(
    tmp_path: Path, binary: Callable[..., bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Editors and rsync write them beside the file that is meant."""
    for name in (".p.wasm", "..p.wasm.Xy1", "~p.wasm", "#p.wasm#", "p.wasm~", ".wasm", "p.WASM"):
        (tmp_path / name).write_bytes(binary())
    (tmp_path / ".#p.wasm").symlink_to("someone@host.1234")
    (tmp_path / "a.b.wasm").write_bytes(binary())
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, tmp_path)
        assert list(loader.plugins) == ["a.b"]
        nursery.cancel_scope.cancel()
    assert caplog.text == ""


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def make_sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (make_fifo, "OSError: file .*p.wasm' is not a regular file, but a FIFO"),
        (make_socket, "OSError: file .* is not a regular file, but a socket"),
        (lambda path: path.mkdir(), "OSError: file .* is not a regular file, but a directory"),
        (lambda path: path.symlink_to("/dev/zero"), "OSError: file .*, but a device"),
        (lambda path: path.symlink_to(path), "OSError: .* Too many levels of symbolic links"),
        (make_sparse, "has 1,099,511,627,776 bytes, above the limit of 268,435,456 for a plugin"),
    ],
)
async def test_what_is_no_plugins_file_holds_up_nobody(
    tmp_path: Path,
    binary: Callable[..., bytes],
    caplog: pytest.LogCaptureFixture,
    until: Until,
    *,
    make: Callable[[Path], None],
    why: str,
) -> None:
    """It is logged, once; a plugin that it replaced goes on, and others come and go as ever."""
    file = tmp_path / "p.wasm"
    file.write_bytes(binary())
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, tmp_path)
        file.unlink()
        make(file)
        (tmp_path / "other.wasm").write_bytes(binary())
        await until(lambda: "goes on as before" in caplog.text and "other" in loader.plugins)
        assert version(loader, "p") == "v1"
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert re.search(why, warnings[0].getMessage())
        (tmp_path / "new").write_bytes(binary(version="v2"))
        if file.is_dir():
            file.rmdir()
        (tmp_path / "new").replace(file)
        await until(lambda: version(loader, "p") == "v2")
        nursery.cancel_scope.cancel()


async def test_names_that_no_log_can_show(
    tmp_path: Path, binary: Callable[..., bytes], caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    """They are loaded like others; what is logged has them escaped, in one line."""
    caplog.set_level(logging.INFO, logger="wasmpool.loader")
    no_utf8 = os.fsencode(tmp_path) + b"/\xff.wasm"
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, tmp_path)
        (tmp_path / "line\nbreak.wasm").write_bytes(binary())
        with open(no_utf8, "wb") as file:  # noqa: ASYNC230, PTH123 - a Path has no such name
            file.write(binary())
        await until(lambda: set(loader.plugins) == {"line\nbreak", "\udcff"})
        (tmp_path / "line\nbreak.wasm").write_bytes(b"\x1b[31mno wasm")
        await until(lambda: "goes on as before" in caplog.text)
        os.unlink(no_utf8)  # noqa: PTH108 - a name of bytes
        await until(lambda: "\udcff" not in loader.plugins)
        nursery.cancel_scope.cancel()
    for record in caplog.records:
        assert record.getMessage().isprintable()
        record.getMessage().encode()


# --- changes ---


def listened_to() -> set[int]:
    """Return the inodes that the system has been asked for notices of."""
    found: set[int] = set()
    for info in Path("/proc/self/fdinfo").iterdir():
        with contextlib.suppress(OSError):  # closed since it was listed
            text = info.read_text()
            found |= {
                int(ino, 16) for ino in re.findall(r"^inotify wd:\w+ ino:(\w+)", text, re.MULTILINE)
            }
    return found


async def test_a_change_that_keeps_size_and_time(
    tmp_path: Path, binary: Callable[..., bytes], until: Until
) -> None:
    """As rsync, tar and build tools with fixed times make it."""
    file = tmp_path / "p.wasm"
    file.write_bytes(binary())
    os.utime(file, (1, 1))
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, tmp_path)
        file.write_bytes(binary(version="v2"))
        os.utime(file, (1, 1))
        await until(lambda: version(loader, "p") == "v2")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("notices", [True, False])
async def test_a_change_that_no_stamp_shows(
    tmp_path: Path,
    binary: Callable[..., bytes],
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    *,
    notices: bool,
) -> None:
    """A notice has the content compared; without any it is read a second time all the same."""
    monkeypatch.setattr(plugin_files, "_stamp", lambda seen: (seen.st_ino,))
    if notices:
        monkeypatch.setattr(watch_module, "_SURE", inf)
    else:
        monkeypatch.setattr(watch_module, "listen", no_notices)
        monkeypatch.setattr(watch_module, "_SURE", 0.25)
    file = tmp_path / "p.wasm"
    file.write_bytes(binary())
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, tmp_path)
        if notices:
            await until(lambda: listened_to() == {tmp_path.stat().st_ino})
        file.write_bytes(binary(version="v2"))
        await until(lambda: version(loader, "p") == "v2")
        nursery.cancel_scope.cancel()


async def no_notices(*_: object) -> None:
    raise OSError(24, "inotify instance limit reached")


async def test_without_notices(
    tmp_path: Path,
    binary: Callable[..., bytes],
    caplog: pytest.LogCaptureFixture,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the system has no more of them, which is logged once, changes are seen all the same."""
    tries = 0

    def watch(*_: object, **__: object) -> Any:
        nonlocal tries
        tries += 1
        raise OSError(24, "inotify instance limit reached")
        yield  # as the real one is a generator

    monkeypatch.setattr(watch_module, "import_watch", lambda: watch)
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, tmp_path)
        (tmp_path / "p.wasm").write_bytes(binary())
        await until(lambda: "p" in loader.plugins and tries > 1)
        nursery.cancel_scope.cancel()
    (record,) = caplog.records
    assert record.getMessage() == (
        f"no notifications of changes in watched directory {str(tmp_path)!r}, it is listed every"
        f" {watch_module._LIST_EVERY:g} s: OSError: [Errno 24] inotify instance limit reached"
    )


async def test_a_file_that_is_renamed(
    tmp_path: Path, binary: Callable[..., bytes], until: Until
) -> None:
    """Its plugin goes by the new name."""
    (tmp_path / "old.wasm").write_bytes(binary())
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, tmp_path)
        old = loader.plugins["old"]
        (tmp_path / "old.wasm").rename(tmp_path / "new.wasm")
        await until(lambda: list(loader.plugins) == ["new"])
        assert old.closed
        assert loader.plugins["new"].name == "new"
        nursery.cancel_scope.cancel()


async def test_a_link_that_is_swapped(
    tmp_path: Path, binary: Callable[..., bytes], until: Until
) -> None:
    """A link to a file is followed, noticed when it leads elsewhere, and gone with its file."""
    releases, plugins = tmp_path / "releases", tmp_path / "plugins"
    releases.mkdir()
    plugins.mkdir()
    for number in ("v1", "v2"):
        (releases / number).write_bytes(binary(version=number))
    (plugins / "p.wasm").symlink_to(releases / "v1")
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, plugins)
        plugin = loader.plugins["p"]
        (plugins / "new").symlink_to(releases / "v2")
        (plugins / "new").replace(plugins / "p.wasm")
        await until(lambda: version(loader, "p") == "v2")
        assert loader.plugins["p"] is plugin
        (releases / "v2").write_bytes(binary(version="v3"))
        await until(lambda: version(loader, "p") == "v3")
        (releases / "v2").unlink()
        await until(lambda: loader.plugins == {})
        (releases / "v2").write_bytes(binary(version="v4"))
        await until(lambda: "p" in loader.plugins)
        nursery.cancel_scope.cancel()


async def test_a_file_that_is_followed_twice(
    tmp_path: Path, binary: Callable[..., bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """By itself and in its directory: the first one serves it, and the other says so."""
    (tmp_path / "p.wasm").write_bytes(binary(version="v1"))
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch_file, tmp_path / "p.wasm")
        await nursery.start(loader.watch, tmp_path)
        assert version(loader, "p") == "v1"
        assert f"the file {str(tmp_path / 'p.wasm')!r} is followed already" in caplog.text
        nursery.cancel_scope.cancel()


async def test_a_text_is_followed_as_a_binary_is(
    tmp_path: Path, wat: Callable[..., str], caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    """Where its file ends with .wat; a broken one leaves the one before serving."""
    path = tmp_path / "p.wat"
    path.write_text(wat(version="v1"))
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch_file, path)
        assert version(loader, "p") == "v1"
        path.write_text("(module nonsense)")
        await until(lambda: f"{path} is no module in the text format" in caplog.text)
        assert version(loader, "p") == "v1"
        path.write_text(wat(version="v2"))
        await until(lambda: version(loader, "p") == "v2")
        nursery.cancel_scope.cancel()


async def test_two_directories_with_the_same_name(
    tmp_path: Path, binary: Callable[..., bytes], caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    """The first serves, the other waits until that is gone; its end is not the end of the first."""
    one, two = tmp_path / "one", tmp_path / "two"
    for directory, number in ((one, "v1"), (two, "v2")):
        directory.mkdir()
        (directory / "p.wasm").write_bytes(binary(version=number))
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, one)
        await nursery.start(loader.watch, two)
        assert version(loader, "p") == "v1"
        assert f"p.wasm' waits, because {str(one / 'p.wasm')!r} has the same name" in caplog.text
        (one / "p.wasm").unlink()
        await until(lambda: "p" in loader.plugins and version(loader, "p") == "v2")
        (one / "p.wasm").write_bytes(binary(version="v3"))
        await until(lambda: f"p.wasm' waits, because {str(two / 'p.wasm')!r} has" in caplog.text)
        (one / "p.wasm").unlink()
        (one / "q.wasm").write_bytes(binary())
        await until(lambda: "q" in loader.plugins)
        assert version(loader, "p") == "v2"
        nursery.cancel_scope.cancel()


async def test_a_plugin_that_is_closed_by_hand_stays_so(
    tmp_path: Path, binary: Callable[..., bytes], until: Until
) -> None:
    """Until its file changes."""
    (tmp_path / "p.wasm").write_bytes(binary())
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, tmp_path)
        await loader.plugins["p"].aclose()
        (tmp_path / "q.wasm").write_bytes(binary())
        await until(lambda: "q" in loader.plugins)
        assert "p" not in loader.plugins
        (tmp_path / "p.wasm").touch()
        await until(lambda: "p" in loader.plugins)
        nursery.cancel_scope.cancel()


async def test_a_plugin_that_was_loaded_by_hand_follows_its_file(
    tmp_path: Path, binary: Callable[..., bytes], until: Until
) -> None:
    """Its credentials, which only `load` can give, go on."""
    (tmp_path / "p.wasm").write_bytes(binary())
    async with open_loader() as loader, trio.open_nursery() as nursery:
        plugin = await loader.load(tmp_path / "p.wasm", "p", {"k": "v"})
        await nursery.start(loader.watch, tmp_path)
        (tmp_path / "p.wasm").write_bytes(binary(version="v2"))
        await until(lambda: version(loader, "p") == "v2")
        assert loader.plugins["p"] is plugin
        assert await plugin.execute("credentials") == ToolResult('{"k":"v"}')
        (tmp_path / "p.wasm").unlink()
        await until(lambda: plugin.closed)
        nursery.cancel_scope.cancel()


# --- directories ---


async def test_a_directory_by_a_relative_path(
    tmp_path: Path, binary: Callable[..., bytes], until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays the one that it was, wherever the process goes."""
    for directory in ("here/plugins", "there/plugins"):
        (tmp_path / directory).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, "plugins")
        monkeypatch.chdir(tmp_path / "there")
        (tmp_path / "there/plugins/there.wasm").write_bytes(binary())
        (tmp_path / "here/plugins/here.wasm").write_bytes(binary())
        await until(lambda: "here" in loader.plugins)
        assert list(loader.plugins) == ["here"]
        nursery.cancel_scope.cancel()


async def test_a_directory_that_cannot_be_looked_at_for_a_while(
    tmp_path: Path,
    binary: Callable[..., bytes],
    caplog: pytest.LogCaptureFixture,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its plugins go on, which is logged once; later everything is as on disk again."""
    failed = 0

    def look(path: str) -> plugin_files.Listing:
        nonlocal failed
        try:
            return plugin_files.list_files(path)
        except OSError:
            failed += 1
            raise

    monkeypatch.setattr(watch_module, "list_files", look)
    monkeypatch.setattr(watch_module, "_LIST_EVERY", 0.01)
    caplog.set_level(logging.INFO, logger="wasmpool.loader")
    directory, away = tmp_path / "plugins", tmp_path / "away"
    directory.mkdir()
    (directory / "p.wasm").write_bytes(binary())
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, directory)
        directory.rename(away)
        directory.symlink_to(directory)  # unlike a mode, it stops root as well
        await until(lambda: "Too many levels of symbolic links" in caplog.text)
        (away / "q.wasm").write_bytes(binary())
        await until(lambda: failed > 10)
        assert list(loader.plugins) == ["p"]
        directory.unlink()
        away.rename(directory)
        await until(lambda: sorted(loader.plugins) == ["p", "q"])
        nursery.cancel_scope.cancel()
    assert caplog.text.count("cannot be listed, and is tried again: OSError") == 1
    assert caplog.text.count("can be listed again") == 1


async def test_a_directory_that_is_deleted_and_comes_back(
    tmp_path: Path, binary: Callable[..., bytes], until: Until, listeners: Callable[[], int]
) -> None:
    """Its plugins go and come with it, and the new one is listened to."""
    directory = tmp_path / "plugins"
    directory.mkdir()
    (directory / "p.wasm").write_bytes(binary())
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, directory)
        (directory / "p.wasm").unlink()
        directory.rmdir()
        await until(lambda: loader.plugins == {})
        await until(lambda: listeners() == 0)
        directory.mkdir()
        (directory / "p.wasm").write_bytes(binary(version="v2"))
        await until(lambda: "p" in loader.plugins)
        assert version(loader, "p") == "v2"
        await until(lambda: listeners() == 1)
        nursery.cancel_scope.cancel()


async def test_a_directory_that_is_replaced(
    tmp_path: Path, binary: Callable[..., bytes], until: Until
) -> None:
    """A plugin that both have is never missing, and changes in the new one are listened to."""
    for number in ("v1", "v2"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "p.wasm").write_bytes(binary(version=number))
    current = tmp_path / "current"
    current.symlink_to("v1")
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, current)
        await until(lambda: listened_to() == {(tmp_path / "v1").stat().st_ino})
        plugin = loader.plugins["p"]
        (tmp_path / "new").symlink_to("v2")
        (tmp_path / "new").replace(current)
        await until(lambda: version(loader, "p") == "v2")
        assert loader.plugins["p"] is plugin
        await until(lambda: listened_to() == {(tmp_path / "v2").stat().st_ino})
        (tmp_path / "v2" / "p.wasm").write_bytes(binary(version="v3"))
        await until(lambda: version(loader, "p") == "v3")
        nursery.cancel_scope.cancel()


async def test_a_directory_that_does_not_answer(
    tmp_path: Path, binary: Callable[..., bytes], until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds up no other and no end; once eight watches of it were given up, the next says so."""
    silent, answers = tmp_path / "silent", tmp_path / "answers"
    silent.mkdir()
    answers.mkdir()
    (answers / "p.wasm").write_bytes(binary())
    back, looking = threading.Event(), 0

    def look(path: str) -> plugin_files.Listing:
        nonlocal looking
        if path == str(silent):
            looking += 1
            back.wait(60)
        return plugin_files.list_files(path)

    monkeypatch.setattr(watch_module, "list_files", look)
    try:
        for number in range(1, watch_module._MAX_ABANDONED + 1):
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery, open_loader() as loader:
                    nursery.start_soon(loader.watch, silent)
                    await until(lambda: looking == number)  # noqa: B023 - awaited here
                    await nursery.start(loader.watch, answers)
                    assert list(loader.plugins) == ["p"]
        async with open_loader() as loader:
            with pytest.raises(OSError, match=f"8 readings of watched directory {str(silent)!r}"):
                await loader.watch(silent)
    finally:
        back.set()


# --- what fails ---


async def test_a_file_that_cannot_be_read_is_tried_again(
    tmp_path: Path,
    binary: Callable[..., bytes],
    caplog: pytest.LogCaptureFixture,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though nothing about it changes; why it is not loaded is said once."""
    failures = 2

    def read(directory: str, name: str) -> Any:
        nonlocal failures
        if failures:
            failures -= 1
            raise PermissionError(13, "Permission denied", name)
        return plugin_files.read_file(directory, name)

    monkeypatch.setattr(watch_module, "read_file", read)
    (tmp_path / "p.wasm").write_bytes(binary())
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, tmp_path)
        assert loader.plugins == {}
        await until(lambda: "p" in loader.plugins)
        nursery.cancel_scope.cancel()
    (record,) = caplog.records
    assert record.getMessage() == (
        "plugin 'p' is not loaded: PermissionError: [Errno 13] Permission denied: 'p.wasm'"
    )


@pytest.mark.parametrize(
    "failure", [PoolUnavailable("no room"), MemoryError("maps"), RuntimeError("unforeseen")]
)
async def test_a_load_that_fails_is_tried_again(
    tmp_path: Path,
    binary: Callable[..., bytes],
    caplog: pytest.LogCaptureFixture,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    *,
    failure: Exception,
) -> None:
    """Where the content alone does not decide; what nobody foresaw is logged with its place."""
    tries = 0
    load = PluginRegistry.load

    async def fail_twice(registry: PluginRegistry, *args: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise failure
        return await load(registry, *args)

    monkeypatch.setattr(PluginRegistry, "load", fail_twice)
    (tmp_path / "p.wasm").write_bytes(binary())
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, tmp_path)
        assert loader.plugins == {}
        await until(lambda: "p" in loader.plugins)
        nursery.cancel_scope.cancel()
    (record,) = caplog.records
    assert (record.exc_info is not None) is (type(failure) is RuntimeError)
    assert f"'p' is not loaded: {type(failure).__name__}: {failure}" in record.getMessage()


async def test_a_load_that_must_fail_is_not_tried_again(
    tmp_path: Path, binary: Callable[..., bytes], until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken file is compiled once for each content that it has."""
    tries: list[str] = []

    async def fail(_loader: Loader, _source: object, name: str, *_: object) -> Any:
        tries.append(name)
        raise CompileError("broken")

    monkeypatch.setattr(PluginRegistry, "load", fail)
    monkeypatch.setattr(watch_module, "_pause", lambda _: 0.0)
    (tmp_path / "p.wasm").write_bytes(binary())
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, tmp_path)
        for number in range(1, 4):  # each has turns of its own, so there would be one for p
            (tmp_path / "q.wasm").write_bytes(binary(version=f"v{number}"))
            await until(lambda: tries.count("q") == number)  # noqa: B023 - awaited here
        assert tries.count("p") == 1
        (tmp_path / "p.wasm").write_bytes(binary(version="v2"))
        await until(lambda: tries.count("p") == 2)
        nursery.cancel_scope.cancel()


def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is half of one and half of the other is not given out."""
    file = tmp_path / "p.wasm"
    file.write_bytes(b"old")
    system_read = os.read

    for after in (b"new", b"longer", b""):

        def read(descriptor: int, size: int, after: bytes = after) -> bytes:
            content = system_read(descriptor, size)
            if content:
                file.write_bytes(after)
                os.utime(file, (1, 1))
            return content

        monkeypatch.setattr(os, "read", read)
        file.write_bytes(b"old")
        with pytest.raises(plugin_files.Unsettled):
            plugin_files.read_file(str(tmp_path), "p.wasm")
    with pytest.raises(plugin_files.Unsettled, match="No such file"):
        plugin_files.read_file(str(tmp_path), "q.wasm")


def test_a_file_that_becomes_a_fifo_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it was looked at, and before it is opened."""
    file = tmp_path / "p.wasm"
    file.write_bytes(b"old")
    system_open = os.open

    def swap(*args: Any) -> int:
        file.unlink()
        os.mkfifo(file)
        return system_open(*args)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(OSError, match="not a regular file, but a FIFO"):
        plugin_files.read_file(str(tmp_path), "p.wasm")


# --- the end ---


async def test_the_loader_closes_while_it_watches(
    tmp_path: Path, binary: Callable[..., bytes], until: Until, listeners: Callable[[], int]
) -> None:
    """Watching ends by itself, and so do its threads."""
    (tmp_path / "p.wasm").write_bytes(binary())
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery, open_loader() as loader:
            await nursery.start(loader.watch, tmp_path)
            await until(lambda: listeners() == 1)
    await until(lambda: listeners() == 0)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("ends", ["closed", "cancelled"])
@pytest.mark.parametrize("load_ends", [trio.Cancelled, RuntimeError])
async def test_the_loader_ends_while_a_load_is_under_way(
    tmp_path: Path,
    binary: Callable[..., bytes],
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    there: bool,
    ends: str,
    load_ends: type[BaseException],
    listeners: Callable[[], int],
) -> None:
    """Watching ends without an error, at its start too, and `nursery.start` returns."""
    loading = trio.Event()
    load = PluginRegistry.load

    async def late(registry: PluginRegistry, *args: Any) -> Any:
        if there and not registry.plugins:
            return await load(registry, *args)
        loading.set()
        try:
            await trio.sleep_forever()
        finally:
            if load_ends is RuntimeError:
                registry.check_open()

    async def leave_when_it_loads() -> None:
        with trio.CancelScope() as scope:
            async with open_loader() as loader:
                loaders.append(loader)
                opened.set()
                await loading.wait()
                if ends == "cancelled":
                    scope.cancel()
                    await trio.sleep_forever()

    opened = trio.Event()
    loaders: list[Loader] = []
    monkeypatch.setattr(PluginRegistry, "load", late)
    (tmp_path / "p.wasm").write_bytes(binary())
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave_when_it_loads)
            await opened.wait()
            await nursery.start(loaders[0].watch, tmp_path)
            if there:
                (tmp_path / "p.wasm").write_bytes(binary(version="v2"))
    assert loaders[0].closed
    assert caplog.text == ""
    await until(lambda: listeners() == 0)


async def test_the_loader_ends_while_a_plugin_drains(
    tmp_path: Path, binary: Callable[..., bytes], until: Until
) -> None:
    """An unload that is under way is the loader's to wait for."""
    (tmp_path / "p.wasm").write_bytes(binary())
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery, open_loader() as loader:
            await nursery.start(loader.watch, tmp_path)
            plugin = loader.plugins["p"]
            nursery.start_soon(hold, plugin.pool, loader)
            await until(lambda: plugin.pool.statistics().leased == 1)
            (tmp_path / "p.wasm").unlink()
            await until(lambda: plugin.closed)
    assert plugin.pool.state.value == "closed"


async def hold(pool: Any, loader: Loader) -> None:
    """Hold a lease until the loader closes."""
    async with pool.lease():
        await loader._registry.closing.wait()


async def test_a_watch_that_is_cancelled_anywhere(
    tmp_path: Path,
    binary: Callable[..., bytes],
    cancelled_at: Any,
    until: Until,
    listeners: Callable[[], int],
) -> None:
    """It leaves no thread and no name taken; what is loaded stays, and another watch goes on."""
    (tmp_path / "p.wasm").write_bytes(binary())
    async with open_loader() as loader:
        for step in range(1, 60, 2):
            (tmp_path / "p.wasm").write_bytes(binary(version=f"v{step % 9}"))
            with trio.move_on_after(0.05), cancelled_at(step):
                await loader.watch(tmp_path)
            assert loader._registry.watched == {}
        await until(lambda: listeners() == 0)
        async with trio.open_nursery() as nursery:
            await nursery.start(loader.watch, tmp_path)
            assert version(loader, "p") == f"v{59 % 9}"
            nursery.cancel_scope.cancel()
