"""From a binary to compiled code: here, or in a process that gets out of the way.

Compiling takes all cores for a while: some 50 ms on two of them for a plugin of 60 KB. The first
time nobody minds. But where instances serve already, as when a pool is reloaded, the trio thread
has to share its core, and its memory maps, with the compiler, and calls take several times as
long. Threads of low priority are no way out: the kernel locks a process's maps for them too, and
then everybody waits for a thread that is given no CPU.

So a module that is compiled while instances are open is compiled by another process, with a low
priority, which hands back what `cache` would keep (`compile_subprocess`). That takes some dozen
milliseconds more, for the process to start, so small modules are compiled here. And it takes
longer where guests compute on all CPUs, which is the point; but a priority so low that it takes
for ever is no help, and so patience has a bound (`_patience`), after which it is done here.

A module is compiled here, too, where such a process cannot be had, where it was asked to end, and
where it says that the module is invalid, for the sake of the message. But where it was killed or
crashed it is not tried again: a module that takes all memory to compile should not have that of
this process.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from functools import partial
from pathlib import Path
from subprocess import DEVNULL
from typing import TYPE_CHECKING, BinaryIO, Final

import trio
from trio.lowlevel import RunVar

from wasmpool_host import _capi
from wasmpool_host._errors import CompileError
from wasmpool_host._escape import escaped

if TYPE_CHECKING:
    import wasmtime

__all__ = ["LARGE", "MAGIC", "compile_apart", "compile_here", "compile_threads"]

LARGE: Final = 16_384
"""Bytes of a binary from which it is worth a process: about 10 ms of compiling."""

_ASKED_TO_END: Final = frozenset(
    {signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGSYS}  # the last by a sandbox
)

_log = logging.getLogger("wasmpool.compiler")

MAGIC: Final = b"\0asm"
_SCRIPT: Final = Path(__file__).with_name("compile_subprocess.py")


def compile_here(engine: wasmtime.Engine, binary: bytes, label: str) -> wasmtime.Module:
    """Compile, on all cores.

    Raises:
        CompileError: the binary is no valid module.
    """
    if not binary.startswith(MAGIC):  # the wheel would take it for the text format
        message = (
            f"{label} is no valid WebAssembly module: it begins with {binary[:4]!r}, not {MAGIC!r}"
        )
        raise CompileError(message)
    try:
        return _capi.compile_binary(engine, binary)
    except _capi.CApiError as error:
        message = f"{label} is no valid WebAssembly module: {_last_line(str(error))}"
        raise CompileError(message) from None


async def compile_apart(binary: bytes, label: str) -> bytes | None:
    """Compiled code, as `_capi.deserialize` takes it; None where `compile_here` is to do it.

    One at a time for each trio run, as each takes all the cores that are left.

    Raises:
        CompileError: the process was killed, perhaps as it took too much memory, or crashed.

    A cancel kills the process.
    """
    python = _python()
    if python is None:
        return None
    settings = [f"{name}={value:d}" for name, value in _capi.SETTINGS.items()]
    command = [python, "-I", "-S", str(_SCRIPT), _capi.library(), *settings]
    threads = compile_threads()
    try:
        async with _one_at_a_time():
            with _file("module") as module, _file("code") as code:
                await trio.to_thread.run_sync(_put, module, binary, limiter=threads)
                status = await _run(command, module, code, _patience(len(binary)))
                if status == 0:
                    return await trio.to_thread.run_sync(_take, code, limiter=threads)
    except OSError as error:
        _log.info("no process to compile %s in, so it is compiled here: %s", label, error)
        return None
    if status is None or status >= 0 or -status in _ASKED_TO_END:
        _log.info("%s is compiled here after all: the process for it ended with %s", label, status)
        return None
    name = signal.strsignal(-status) or "unknown"
    message = f"{label} could not be compiled: signal {-status} ({name}) ended the compiler"
    raise CompileError(message)


async def _run(command: list[str], module: BinaryIO, code: BinaryIO, seconds: float) -> int | None:
    """The exit status; None if it took too long. A process group of its own gets no Ctrl-C."""
    run = partial(
        trio.run_process, command, stdin=module, stdout=code, stderr=DEVNULL, check=False,
        deliver_cancel=_kill, process_group=0,
    )  # fmt: skip
    with trio.move_on_after(seconds):
        done = await run()
        return done.returncode
    return None


async def _kill(process: trio.Process) -> None:
    process.kill()  # it has nothing to put in order


def _patience(size: int) -> float:
    """Seconds for a binary of so many bytes: some four times of what it takes on two idle CPUs."""
    return 1 + 5e-6 * size


def _python() -> str | None:
    """An interpreter, unless Python is embedded: then ``sys.executable`` is the program itself."""
    executable = sys.executable or ""
    is_python = Path(executable).name.startswith("python") and not getattr(sys, "frozen", False)
    return executable if is_python and hasattr(os, "memfd_create") else None


def _file(name: str) -> BinaryIO:
    """One in memory: so nothing goes through a pipe, and the loop has no part in it."""
    return open(os.memfd_create(f"wasmpool-{name}"), "w+b")  # noqa: PTH123 - a descriptor


def _put(file: BinaryIO, content: bytes) -> None:
    file.write(content)
    file.seek(0)


def _take(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


_THREADS: Final = 16
"""Compilations, and reads of files, at a time: a file system that hangs holds up no other work."""

_processes: RunVar[trio.CapacityLimiter] = RunVar("wasmpool_compilers")
_threads: RunVar[trio.CapacityLimiter] = RunVar("wasmpool_compile_threads")


def compile_threads() -> trio.CapacityLimiter:
    """The threads that compile in this trio run, which nothing else waits for."""
    return _limiter(_threads, _THREADS)


def _one_at_a_time() -> trio.CapacityLimiter:
    return _limiter(_processes, 1)


def _limiter(of_this_run: RunVar[trio.CapacityLimiter], most: int) -> trio.CapacityLimiter:
    try:
        return of_this_run.get()
    except LookupError:
        limiter = trio.CapacityLimiter(most)
        of_this_run.set(limiter)
        return limiter


def _last_line(message: str) -> str:
    """Wasmtime's reason, without the chain that leads to it."""
    return escaped(message.strip().splitlines()[-1].strip())
