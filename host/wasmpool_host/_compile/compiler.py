"""From a binary to compiled code: in this process, or in another one with a low priority.

Compiling uses all cores: about 50 ms on two cores for a plugin of 60 KB. Before the first call this
does no harm. But while instances serve, for example when a pool is reloaded, the trio thread has to
share its core and its memory maps with the compiler, and calls take several times as long.

So a large module that is compiled while instances are open is compiled by another process with a
low priority (`compile_subprocess`), which returns the bytes that `cache` would store. The start of
the process takes some ten milliseconds, so small modules are compiled in this process. While guests
compute on all CPUs the process takes longer, as intended; but it must finish at some time, so it
has a time limit (`_time_limit`), after which the module is compiled in this process.

A module is also compiled in this process if no subprocess can be started, if the subprocess was
asked to end, and if it reports that the module is invalid, to get the error message. If it was
killed or crashed, the module is not compiled again: if it takes all memory to compile, it should
not take that of this process.

Rejected: threads with a low priority. The kernel locks the memory maps of the process for them too,
and then every other thread waits for a thread that gets no CPU.
"""

from __future__ import annotations

import logging
import os
import re
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
    from collections.abc import Mapping

    import wasmtime

__all__ = [
    "MAGIC",
    "SUBPROCESS_THRESHOLD",
    "check_component",
    "compile_here",
    "compile_in_subprocess",
    "compile_threads",
    "why_refused",
]

SUBPROCESS_THRESHOLD: Final = 16_384
"""Bytes of a binary from which a subprocess is worth its start: about 10 ms of compiling."""

_ASKED_TO_END: Final = frozenset(
    {signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGSYS}  # SIGSYS comes from a sandbox
)

_log = logging.getLogger("wasmpool.compiler")

MAGIC: Final = b"\0asm"
_COMPONENT: Final = b"\x0d\0\x01\0"
"""What follows there in a component, where a module has its version."""

_FEATURE: Final = (
    r"(must be|not) enabled|is disabled|requires? the [\w -]+ proposal|without the \w+ feature"
    r"|Unsupported feature|not implemented yet|custom descriptors required|type with descriptor"
)
"""In Wasmtime's words, a feature that its engine was not asked for."""

_NUMBER: Final = r"^\d+: "
"""What Wasmtime puts before each of several reasons."""

_SCRIPT: Final = Path(__file__).with_name("compile_subprocess.py")


def compile_here(engine: wasmtime.Engine, binary: bytes, label: str) -> wasmtime.Module:
    """Compile in this process, on all cores.

    Raises:
        CompileError: the binary is no valid module.
    """
    if not binary.startswith(MAGIC):  # the wheel would read it as the text format
        raise CompileError(f"{label} is no valid WebAssembly module: {_why_no_binary(binary)}")
    if binary[len(MAGIC) : len(MAGIC) + 4] == _COMPONENT:
        message = (
            f"{label} is a WebAssembly component, not a module: compile it by Component.compile"
        )
        raise CompileError(message)
    try:
        return _capi.compile_binary(engine, binary)
    except _capi.CApiError as error:
        raise CompileError(why_refused(label, str(error))) from None


def _why_no_binary(content: bytes) -> str:
    why = f"it begins with {content[:4]!r}, not {MAGIC!r}"
    if content[:64].lstrip().startswith((b"(", b";;")):
        why += "; text is given as a str, or in a file that ends with .wat"
    return why


def check_component(binary: bytes, label: str) -> None:
    """Raise CompileError if these bytes are certainly no component."""
    if not binary.startswith(MAGIC):
        raise CompileError(f"{label} is no valid WebAssembly component: {_why_no_binary(binary)}")
    if binary[len(MAGIC) : len(MAGIC) + 4] != _COMPONENT:
        message = f"{label} is a WebAssembly module, not a component: compile it by Module.compile"
        raise CompileError(message)


def why_refused(label: str, message: str, what: str = "module") -> str:
    """Tell valid code that needs an unsupported feature from bytes that are none.

    ``message`` is Wasmtime's; ``what`` is a module or a component.
    """
    why = _last_line(message)
    if "shared memor" in why:
        return f"{label} needs shared memory, which wasmpool does not support"
    if "threads support" in why:
        return f"{label} needs threads, which wasmpool does not support"
    if re.search(_FEATURE, why):
        return f"{label} needs a feature of WebAssembly that wasmpool does not support: {why}"
    return f"{label} is no valid WebAssembly {what}: {why}"


async def compile_in_subprocess(
    binary: bytes,
    label: str,
    *,
    settings: Mapping[str, bool] = _capi.SETTINGS,
    what: str = "module",
) -> bytes | None:
    """Compiled code to be deserialized; None if the caller has to compile in this process.

    ``settings`` are the engine's; ``what`` is a module or a component.

    Only one subprocess at a time runs for each trio run, because each uses all cores that are left.

    Raises:
        CompileError: the process was killed, perhaps because it took too much memory, or crashed.

    A cancel kills the process.
    """
    python = _python()
    if python is None:
        return None
    given = [f"{name}={value:d}" for name, value in settings.items()]
    command = [python, "-I", "-S", str(_SCRIPT), _capi.library(), what, *given]
    threads = compile_threads()
    try:
        async with _one_at_a_time():
            with _file("module") as module, _file("code") as code:
                await trio.to_thread.run_sync(_write_all, module, binary, limiter=threads)
                status = await _run(command, module, code, _time_limit(len(binary)))
                if status == 0:
                    return await trio.to_thread.run_sync(_read_all, code, limiter=threads)
    except OSError as error:
        _log.info("%s is compiled in this process, as no other can be used: %s", label, error)
        return None
    if status is None or status >= 0 or -status in _ASKED_TO_END:
        why = "took too long" if status is None else f"ended with {status}"
        _log.info("%s is compiled in this process after all: the subprocess %s", label, why)
        return None
    name = signal.strsignal(-status) or "unknown"
    message = f"{label} could not be compiled: signal {-status} ({name}) ended the compiler"
    raise CompileError(message)


async def _run(command: list[str], module: BinaryIO, code: BinaryIO, seconds: float) -> int | None:
    """The exit status, or None after a timeout. In its own process group it gets no Ctrl-C."""
    run = partial(
        trio.run_process, command, stdin=module, stdout=code, stderr=DEVNULL, check=False,
        deliver_cancel=_kill, process_group=0,
    )  # fmt: skip
    with trio.move_on_after(seconds):
        done = await run()
        return done.returncode
    return None


async def _kill(process: trio.Process) -> None:
    process.kill()  # it has nothing to clean up


def _time_limit(size: int) -> float:
    """Seconds for a binary of this size: about four times what it takes on two idle CPUs."""
    return 1 + 5e-6 * size


def _python() -> str | None:
    """The interpreter; None if Python is embedded, where ``sys.executable`` is the program."""
    executable = sys.executable or ""
    is_python = Path(executable).name.startswith("python") and not getattr(sys, "frozen", False)
    return executable if is_python and hasattr(os, "memfd_create") else None


def _file(name: str) -> BinaryIO:
    """A file in memory: no data goes through a pipe, so the loop has no work with it."""
    return open(os.memfd_create(f"wasmpool-{name}"), "w+b")  # noqa: PTH123 - a descriptor


def _write_all(file: BinaryIO, content: bytes) -> None:
    file.write(content)
    file.seek(0)


def _read_all(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


_THREADS: Final = 16
"""Compilations and file reads at a time, so that a file system that hangs delays no other work."""

_processes: RunVar[trio.CapacityLimiter] = RunVar("wasmpool_compilers")
_threads: RunVar[trio.CapacityLimiter] = RunVar("wasmpool_compile_threads")


def compile_threads() -> trio.CapacityLimiter:
    """The limiter of threads that compile in this trio run; nothing else uses it."""
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
    """Wasmtime's reason, without the error chain before it."""
    return escaped(re.sub(_NUMBER, "", message.strip().splitlines()[-1].strip()))
