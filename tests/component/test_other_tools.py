"""Components that others' tools have built: from Python, from JavaScript, and from C and Zig.

To build and compile the first two takes minutes, unless ``WASMPOOL_EXAMPLES_CACHE`` names a
directory that is kept.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from wasmpool import (
    Component,
    HttpPolicy,
    Limits,
    Preopen,
    Wasi,
    open_pool,
    open_wasi_http,
)
from wasmpool_host import Err, Ok
from wasmpool_host._wasi_p2 import pollable

from .built import KEPT, adapted, js_component, python_component

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from trio.testing import MockClock

    from wasmpool import Pool

pytestmark = pytest.mark.slow

WORK = "tests:guest/work#"
LIMITS = Limits(stack=8 << 20)


@pytest.fixture(scope="module")
def kept(cache: Path) -> Path:
    """Where they are built and compiled to."""
    directory = Path(KEPT) if KEPT else cache
    directory.mkdir(exist_ok=True)
    return directory


async def compiled(path: Path, kept: Path, **options: Any) -> Component:
    return await Component.compile(path, cache=kept, limits=LIMITS, **options)


async def nap_together(
    pool: Pool, clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> list[float]:
    """Have four guests sleep at the same time; return how long each has slept by its own clock.

    Trio's clock stands still until all of them sleep, however long that takes here.
    """
    asleep = 0
    wait = pollable._wait

    async def counted(deadline: float, events: Sequence[pollable.Event]) -> None:
        nonlocal asleep
        asleep += deadline < math.inf
        await wait(deadline, events)

    monkeypatch.setattr(pollable, "_wait", counted)
    slept: list[float] = []

    async def nap() -> None:
        slept.append(await pool.call(f"{WORK}nap", 3600.0))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(nap)
        while asleep < 4:
            await trio.lowlevel.checkpoint()
        assert not slept
        clock.jump(3600.5)
    return slept


# --- Python, by componentize-py ---


@pytest.fixture(scope="module")
def python(kept: Path) -> Path:
    return python_component(kept)


@pytest.fixture
async def files(python: Path, kept: Path, tmp_path: Path) -> AsyncGenerator[Pool, None]:
    """Python with a directory that it may read, and one that it may write."""
    for name in ("read", "write"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(f"content of {name}")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "write" / "out").symlink_to("../secret")
    wasi = Wasi(
        env={"NAME": "value"},
        preopens={
            "/read": tmp_path / "read",
            "/write": Preopen(tmp_path / "write", writable=True),
        },
    )
    async with open_pool(await compiled(python, kept, wasi=wasi), size=2) as pool:
        yield pool


async def test_python_prints_and_returns(files: Pool, caplog: pytest.LogCaptureFixture) -> None:
    """What it prints is logged."""
    caplog.set_level("INFO", "wasmpool.guest.stdout")
    assert await files.call(f"{WORK}greet", "Ada") == "hello, Ada"
    assert [record.message for record in caplog.records] == ["greeting Ada"]


async def test_python_uses_files_and_nothing_else(files: Pool, tmp_path: Path) -> None:
    """Within its directories, as they are opened, and by no way out of them."""

    async def read(path: str) -> object:
        return await files.call(f"{WORK}read-text", path)

    assert await read("/read/file") == Ok("content of read")
    assert await files.call(f"{WORK}names", "/write") == ["file", "out"]
    assert await files.call(f"{WORK}write-text", "/write/new", "text") == Ok()
    assert (tmp_path / "write" / "new").read_text() == "text"
    refused = await files.call(f"{WORK}write-text", "/read/new", "text")
    assert refused == Err("OSError: Read-only file system")
    for path in ("/read/none", "/etc/passwd", "/read/../secret", "/write/out", "../secret"):
        answer = await read(path)
        assert isinstance(answer, Err), path
        assert answer.value.startswith(("FileNotFoundError", "PermissionError")), path


async def test_python_knows_its_environment_and_the_time(files: Pool) -> None:
    """And gets random numbers that differ between instances."""
    assert await files.call(f"{WORK}environment", "NAME") == "value"
    assert await files.call(f"{WORK}environment", "PATH") is None
    assert abs(await files.call(f"{WORK}clock") - time.time()) < 60
    random = {await files.call(f"{WORK}random", 16) for _ in range(4)}
    assert len(random) == 4
    refused = await files.call(f"{WORK}connect", "127.0.0.1", 80)
    assert isinstance(refused, Err)


async def test_python_sleeps_without_holding_anybody_up(
    python: Path, kept: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four sleep for an hour at the same time, and one is cancelled."""
    async with open_pool(await compiled(python, kept), size=4) as pool:
        slept = await nap_together(pool, mock_clock, monkeypatch)
        assert all(3600 <= each < 3700 for each in slept)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.call, f"{WORK}nap", 3600.0)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert await pool.call(f"{WORK}greet", "Ada") == "hello, Ada"


async def test_python_runs_as_a_program(python: Path, kept: Path) -> None:
    """With its standard streams and its return code."""
    async with open_pool(await compiled(python, kept)) as pool:
        done = await pool.run(stdin=b"hello\n")
        assert (done.returncode, done.stdout) == (0, b"HELLO\n")
        done = await pool.run()
        assert (done.returncode, done.stderr) == (1, b"no input\n")


# --- JavaScript, by componentize-js ---


@pytest.fixture(scope="module")
def js(kept: Path) -> Path:
    return js_component(kept)


async def test_javascript_prints_sleeps_and_knows_the_time(
    js: Path,
    kept: Path,
    mock_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Four sleep for an hour at the same time."""
    caplog.set_level("INFO", "wasmpool.guest.stdout")
    async with open_pool(await compiled(js, kept), size=4) as pool:
        assert await pool.call(f"{WORK}greet", "Ada") == "hello, Ada"
        assert [record.message for record in caplog.records] == ["greeting Ada"]
        slept = await nap_together(pool, mock_clock, monkeypatch)
        assert all(3600 <= each < 3700 for each in slept)
        assert abs(await pool.call(f"{WORK}clock") - time.time()) < 60
        assert len(await pool.call(f"{WORK}random", 1000)) == 1000
        assert (await pool.run()).stdout == b"it runs\n"


async def test_javascript_fetches_within_the_policy(
    js: Path, kept: Path, nursery: trio.Nursery
) -> None:
    """What the policy forbids, and everything without one, is refused before a connection."""
    requests: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        requests.append(bytes(await stream.receive_some()))
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, serve, [listener])
    port = listener.socket.getsockname()[1]
    policy = HttpPolicy(allow_private=True, allow_hosts=["127.0.0.1"])
    async with open_wasi_http(policy) as http:
        component = await compiled(js, kept, imports=http.imports)
        async with open_pool(component) as pool:
            fetch = f"{WORK}fetch-text"
            url = f"http://127.0.0.1:{port}/path?q=1"
            assert await pool.call(fetch, url, None) == Ok("200 hello")
            assert await pool.call(fetch, url, "body") == Ok("200 hello")
            assert isinstance(await pool.call(fetch, f"http://localhost:{port}/", None), Err)
    assert [each.split()[:2] for each in requests] == [
        [b"GET", b"/path?q=1"],
        [b"POST", b"/path?q=1"],
    ]
    assert requests[1].endswith(b"\r\n\r\nbody")
    async with open_pool(await compiled(js, kept)) as pool:
        assert isinstance(await pool.call(fetch, url, None), Err)
    assert len(requests) == 2
    nursery.cancel_scope.cancel()


# --- C and Zig, by the adapter from preview 1 ---


@pytest.mark.parametrize("module", ["c_program.wasm", "zig_program.wasm"])
async def test_a_program_for_preview_1_runs_by_its_adapter(
    module: str, kept: Path, tmp_path: Path
) -> None:
    """With C's and Zig's own libraries between the program and WASI."""
    component = await compiled(adapted(module, tmp_path), kept)
    async with open_pool(component) as pool:
        assert (await pool.run(["p", "args", "x"])).stdout == b"p\nargs\nx\n"
        if module == "c_program.wasm":
            assert (await pool.run(["p", "cat"], stdin=b"text\n")).stdout == b"text\n"
            given = {"/in": b"content"}
            done = await pool.run(["p", "copy", "/in", "/out"], files=given, collect=["*"])
            assert dict(done.files) == {**given, "/out": b"content"}
            assert (await pool.run(["p", "exit", "7"])).returncode == 1  # 0.2.0 has no number
