"""Files of a component whose operations may block: they run in threads, and so do closes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from tests.host.wasi.preview2 import STREAMS, TYPES
from tests.host.wasi.test_offload import Server, descriptors_of, remote, settled

from wasmpool_host._instance.caller import PROCESS
from wasmpool_host._wasi import device_calls
from wasmpool_host._wasi import process as process_module
from wasmpool_host._wasi.files import DiskDirectory, DiskFile
from wasmpool_host._wit_values import Err, Ok, Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.host.wasi.preview2 import FakeComponent

NO_CHANGE = Variant("no-change")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A file system's server, with fresh devices, so that no other test's calls count."""
    monkeypatch.setattr(device_calls, "_calls", {})
    server = Server()
    yield server
    server.answers.set()


@pytest.fixture
def far(open_component: Callable[..., FakeComponent], root: Path) -> FakeComponent:
    """With `root` preopened, on a file system that may wait."""
    return open_component(preopens={"/": remote(root)})


async def root_of(component: FakeComponent) -> Any:
    ((directory, _),) = await component.acall("wasi:filesystem/preopens", "get-directories")
    component._handles.append(directory)
    return directory


async def at(component: FakeComponent, descriptor: Any, name: str, *args: Any) -> Any:
    return await component.acall(TYPES, f"[method]descriptor.{name}", descriptor, *args)


async def opened(component: FakeComponent, path: str, *flags: str) -> Any:
    directory = await root_of(component)
    found = await at(component, directory, "open-at", set(), path, set(), set(flags))
    assert isinstance(found, Ok)
    return found.value


async def test_files_of_a_server_are_used_in_threads(far: FakeComponent, root: Path) -> None:
    """With the same results."""
    file = await opened(far, "file", "read", "write")
    assert await at(far, file, "read", 4, 2) == Ok((b"2345", False))
    assert await at(far, file, "write", b"ab", 0) == Ok(2)
    assert (root / "file").read_bytes() == b"ab23456789"
    stream = (await at(far, file, "read-via-stream", 8)).value
    assert await far.acall(STREAMS, "[method]input-stream.blocking-read", stream, 9) == Ok(b"89")
    missing = await at(far, await root_of(far), "open-at", set(), "none", set(), {"read"})
    assert missing == Err("no-entry")


@pytest.mark.parametrize(
    ("owner", "name", "method", "args"),
    [
        (DiskFile, "pread", "read", (1, 0)),
        (DiskFile, "pwrite", "write", (b"x", 0)),
        (DiskFile, "status", "stat", ()),
        (DiskFile, "set_times", "set-times", (NO_CHANGE, NO_CHANGE)),
        (DiskFile, "set_size", "set-size", (1,)),
        (DiskFile, "sync", "sync-data", ()),
        (DiskDirectory, "resolve", "stat-at", (set(), "file")),
        (DiskDirectory, "open_entries", "read-directory", ()),
    ],
)  # fmt: skip
async def test_a_silent_server_holds_up_nobody_else(  # noqa: PLR0917 - pytest's arguments
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    far: FakeComponent,
    owner: type,
    name: str,
    method: str,
    args: tuple[object, ...],
) -> None:
    """The other tasks run, and a cancel returns at once."""
    of_file = owner is DiskFile
    descriptor = await (opened(far, "file", "read", "write") if of_file else root_of(far))
    server.silence(monkeypatch, owner, name)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(at, far, descriptor, method, *args)
        await server.was_asked(1)
        nursery.cancel_scope.cancel()
    far.close()
    await settled(server)


async def test_what_is_dropped_is_closed_in_a_thread_with_the_next_call(
    server: Server, monkeypatch: pytest.MonkeyPatch, far: FakeComponent, root: Path
) -> None:
    """To drop a handle cannot wait; so many cannot be left, as each counts until it is closed."""
    first = await opened(far, "file", "read")
    second = await opened(far, "file", "read")
    before = descriptors_of(root)
    server.silence(monkeypatch, DiskFile, "close")
    far.drop(first)
    assert descriptors_of(root) == before
    async with trio.open_nursery() as nursery:
        nursery.start_soon(at, far, second, "read", 1, 0)
        await server.was_asked(1)
        server.answers.set()
    assert descriptors_of(root) == before - 1
    assert not far.state[PROCESS].dropped


async def test_a_large_file_without_a_name_is_closed_in_a_thread(
    component: FakeComponent, root: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """To free its blocks takes long, on any file system."""
    (root / "large").write_bytes(bytes(9 * 2**20))
    file = await opened(component, "large", "read")
    (root / "large").unlink()
    component.drop(file)
    assert component.state[PROCESS].dropped
    server.answers.set()
    server.silence(monkeypatch, DiskFile, "close")
    await root_of(component)
    assert server.asked == 1
    assert not component.state[PROCESS].dropped


async def test_the_first_call_opens_the_directories_in_a_thread(
    server: Server, monkeypatch: pytest.MonkeyPatch, far: FakeComponent
) -> None:
    """Whatever it is that the component asks for; a cancel leaves nothing open."""
    server.silence(monkeypatch, process_module, "_open")
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(far.acall, "wasi:clocks/monotonic-clock", "now")
            await server.was_asked(1)
            scope.cancel()
    assert scope.cancelled_caught
    assert PROCESS not in far.state
    await settled(server)
