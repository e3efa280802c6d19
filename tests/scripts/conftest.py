"""An interpreter of a few lines in the place of CPython, and tools that tests script."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, final

import pytest
import trio

from wasmpool import ToolResult, Wasi
from wasmpool._scripts import ScriptLimits, Scripts, open_scripts
from wasmpool._scripts.interpreter import Interpreter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

RUNNER = Path(__file__).parent.parent / "guests" / "script_runner.wasm"


@final
class Tools:
    """Some tools, and what was done with them.

    ``echo`` and ``fail`` answer with their text, ``wait`` waits until ``gate`` is open, ``mark``
    sets an event, and ``broken`` is a fault of the application.
    """

    def __init__(self) -> None:
        self.gate = trio.Event()
        self.marked = trio.Event()
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.waiting = 0
        self.most = 0
        self.cancelled = 0
        self.arrived, self._arrivals = trio.open_memory_channel[None](1000)

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> ToolResult:
        self.calls.append((tool, arguments))
        text = str(arguments.get("text", ""))
        if tool == "wait":
            await self._wait()
        if tool == "mark":
            self.marked.set()
        if tool == "broken":
            raise KeyError("of the application")
        return ToolResult(text, is_error=tool == "fail")

    async def _wait(self) -> None:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        self.arrived.send_nowait(None)
        try:
            await self.gate.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1

    async def until(self, calls: int) -> None:
        """Wait until this many more calls of ``wait`` are under way."""
        for _ in range(calls):
            await self._arrivals.receive()


class Open(Protocol):
    def __call__(
        self, *, size: int = 2, limits: ScriptLimits | None = None, call: Any = None
    ) -> AbstractAsyncContextManager[Scripts]: ...


@pytest.fixture
async def tools() -> Tools:
    return Tools()


@pytest.fixture
def runner() -> Interpreter:
    """The interpreter of the small language."""
    return Interpreter(
        module=RUNNER, args=("runner",), export="_start", stack=512 << 10, wasi=Wasi()
    )


@pytest.fixture
def opened(tools: Tools, cache: Path, runner: Interpreter) -> Open:
    """Opens scripts in the small language of the runner."""

    def make(
        *, size: int = 2, limits: ScriptLimits | None = None, call: Any = None
    ) -> AbstractAsyncContextManager[Scripts]:
        given = limits or ScriptLimits(memory=64 << 20, seconds=30)
        made = partial(open_scripts, size=size, min_size=1, cache=cache, interpreter=runner)
        return made(call or tools.call, limits=given)

    return make


@pytest.fixture
async def scripts(opened: Open) -> Any:
    async with contextlib.AsyncExitStack() as stack:
        yield await stack.enter_async_context(opened())
