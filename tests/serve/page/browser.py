"""A real browser without a window, driven over a pair of pipes.

The protocol is https://chromedevtools.github.io/devtools-protocol/: messages of JSON, each ended by
a zero byte, on the browser's descriptors 3 and 4.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

__all__ = ["CHROMIUM", "Tab", "open_tab"]

CHROMIUM: Final = shutil.which("chromium")


class Tab:
    """One page of the browser."""

    def __init__(self, commands: trio.lowlevel.FdStream, answers: trio.lowlevel.FdStream) -> None:
        self._commands, self._answers = commands, answers
        self._buffer = b""
        self._asked = 0
        self._session: str | None = None
        self.logged: list[dict[str, Any]] = []
        """What the page wrote to the console, and what the browser refused to load or to run."""

    async def attach(self) -> None:
        """Open an empty page and listen to its log."""
        target = await self._ask("Target.createTarget", url="about:blank")
        attached = await self._ask(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            await self._ask(f"{domain}.enable")

    async def visit(self, url: str) -> None:
        """Go to a page."""
        await self._ask("Page.navigate", url=url)

    async def wait_for(self, condition: str) -> None:
        """Return once an expression of JavaScript is true, which is tried with each change."""
        script = f"""new Promise(resolve => {{
            const changed = new MutationObserver(test);
            function test() {{ if ({condition}) {{ changed.disconnect(); resolve(true) }} }}
            changed.observe(document, {{subtree: true, childList: true, characterData: true}});
            test();
        }})"""
        await self._ask("Runtime.evaluate", expression=script, awaitPromise=True)

    async def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript."""
        result = await self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"]["value"]

    async def _ask(self, method: str, **parameters: Any) -> Any:
        self._asked += 1
        command: dict[str, Any] = {"id": self._asked, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        await self._commands.send_all(json.dumps(command).encode() + b"\0")
        while True:
            answer = await self._next()
            if answer.get("method") in {"Log.entryAdded", "Runtime.exceptionThrown"}:
                self.logged.append(answer["params"])
            if answer.get("id") == self._asked:
                assert "error" not in answer, answer
                return answer["result"]

    async def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            piece = await self._answers.receive_some()
            assert piece, "the browser has ended"
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


@asynccontextmanager
async def open_tab(profile: Path) -> AsyncGenerator[Tab, None]:
    """Start the browser, with nothing of another run, and end it with the block."""
    for_browser, commands = os.pipe()
    answers, from_browser = os.pipe()
    command = (
        f"exec {CHROMIUM} --headless=new --no-sandbox --disable-gpu --remote-debugging-pipe"
        f" --user-data-dir={profile} 3<&{for_browser} 4>&{from_browser} 2>/dev/null"
    )
    async with (
        trio.lowlevel.FdStream(commands) as command_stream,
        trio.lowlevel.FdStream(answers) as answer_stream,
        trio.open_nursery() as nursery,
    ):
        inherited = (for_browser, from_browser)
        try:
            run = await nursery.start(_run, ["bash", "-c", command], inherited)
        finally:
            for descriptor in inherited:
                os.close(descriptor)
        tab = Tab(command_stream, answer_stream)
        await tab.attach()
        yield tab
        run.terminate()


async def _run(
    command: list[str],
    inherited: tuple[int, ...],
    task_status: trio.TaskStatus[trio.Process] = trio.TASK_STATUS_IGNORED,
) -> None:
    process = await trio.lowlevel.open_process(command, pass_fds=inherited)
    task_status.started(process)
    try:
        await process.wait()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
