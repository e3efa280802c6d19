"""The tool door: what one script may ask of its host, and what it gets.

An interpreter has one import of ours, ``host.call``. It passes a request, and waits in it for the
answer; the host function is async, so the wait takes no thread, and other guests run. While a
request is served nothing else of the script runs. So it cannot end with calls under way, and a
cancel of the script ends them all.

An answer is one JSON object: ``{"ok": true, ...}`` with what was asked for, or ``{"ok": false,
"error": SENTENCE}``. What the script prints goes another way, so it can never be taken for an
answer or a request.

Everything is bounded on this side. Whatever the interpreter's own side of the door does belongs to
the script, which may change it.
"""

from __future__ import annotations

import json
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, final

import trio

from wasmpool import Caller, WasmpoolError, host_function
from wasmpool._json import encode

from .ended import ScriptEnded
from .request import BadRequest, Begin, Call, Map, read_request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from wasmpool import ToolResult

    from .limits import ScriptLimits

__all__ = ["CURRENT_DOOR", "Door", "host_call"]

_NO_DOOR: Final = -1
_NO_ROOM: Final = -2
_U32: Final = 0xFFFF_FFFF


@final
class Door:
    """Serves the requests of one script."""

    def __init__(
        self,
        call: Callable[[str, Mapping[str, Any]], Awaitable[ToolResult]],
        source: str,
        limits: ScriptLimits,
    ) -> None:
        self._call_tool = call
        self._source = source
        self._limits = limits
        self._calls = 0
        """Calls of tools until now, those under way too."""

    async def answer(self, size: int, read: Callable[[], bytes]) -> bytes:
        """Serve one request; a cancel ends the calls that it made.

        Args:
            size: its bytes, as the guest says.
            read: copies them out of the guest.

        Raises:
            ScriptEnded: the script has made too many calls.
            Exception: the function that calls tools raised it, and it is no `WasmpoolError`.
        """
        most = self._limits.request_bytes
        if size > most:
            return _error(f"the arguments have {size:,} bytes as JSON; a request has {most:,}")
        try:
            request = read_request(read())
        except BadRequest as error:
            return _error(str(error))
        match request:
            case Begin():
                return self._begin()
            case Call():
                self._count(1)
                return await self._call(request.tool, request.arguments)
            case Map():
                self._count(len(request.arguments))
                return await self._map(request)

    def _begin(self) -> bytes:
        limits = {"calls": self._limits.calls, "memory": self._limits.memory}
        return encode({"ok": True, "source": self._source, "limits": limits})

    def _count(self, calls: int) -> None:
        self._calls += calls
        if self._calls > self._limits.calls:
            raise ScriptEnded(f"it made more than {self._limits.calls:,} calls")

    async def _call(self, tool: str, arguments: dict[str, Any]) -> bytes:
        try:
            result = await self._call_tool(tool, arguments)
        except WasmpoolError as error:
            return self._bounded(tool, _error(str(error)))
        if result.is_error:
            return self._bounded(tool, _error(result.data))
        return self._bounded(tool, _encode({"ok": True, "data": result.data}))

    def _bounded(self, tool: str, answer: bytes) -> bytes:
        most = self._limits.answer_bytes
        if len(answer) <= most:
            return answer
        return _error(f"{tool!r} returned {len(answer):,} bytes as JSON; a script gets {most:,}")

    async def _map(self, request: Map) -> bytes:
        """Make the calls of a map, and put their answers in the order of their arguments."""
        answers = _Answers(len(request.arguments), self._limits.answer_bytes)
        ahead = iter(enumerate(request.arguments))

        async def make_calls() -> None:
            for place, arguments in ahead:
                answers.put(place, await self._call(request.tool, arguments))

        at_once = min(request.limit, self._limits.at_once, len(request.arguments))
        if at_once == 1:
            await make_calls()
        else:
            await _run_all(make_calls, at_once)
        return answers.joined()


async def _run_all(work: Callable[[], Awaitable[None]], times: int) -> None:
    """Run this many tasks; the first error is raised as it is, in no group."""
    failed: list[Exception] = []

    async def run() -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - raised below
            failed.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for _ in range(times):
            nursery.start_soon(run)
    if failed:
        raise failed[0]


@final
class _Answers:
    """The answers of a map, of a bounded size together."""

    def __init__(self, count: int, limit: int) -> None:
        self._answers = [b""] * count
        self._limit = limit
        self._size = 0

    def put(self, place: int, answer: bytes) -> None:
        if self._size + len(answer) > self._limit:
            answer = _error(f"the calls of this map returned more than {self._limit:,} bytes")
        else:
            self._size += len(answer)
        self._answers[place] = answer

    def joined(self) -> bytes:
        return b'{"ok":true,"results":[' + b",".join(self._answers) + b"]}"


def _error(sentence: str) -> bytes:
    return _encode({"ok": False, "error": sentence})


def _encode(answer: dict[str, Any]) -> bytes:
    try:
        return encode(answer)
    except ValueError:  # half of a surrogate pair, which a tool may escape in JSON
        return json.dumps(answer).encode()


CURRENT_DOOR: ContextVar[Door | None] = ContextVar("wasmpool.scripts.door", default=None)
"""The door of the script that this task runs: host functions run in the task that called."""


@host_function("host", "call", params=("i32",) * 4, results=["i32"])
async def host_call(caller: Caller, ptr: int, size: int, answer_ptr: int, answer_size: int) -> int:
    """Pass a request of ``size`` bytes at ``ptr`` through the door.

    The answer is in memory from the guest's ``host_alloc``; where it is, and its size, are written
    to the other two addresses. Returns 0, or -1 where there is no door, or -2 if the guest has no
    memory for the answer.
    """
    door = CURRENT_DOOR.get()
    if door is None:
        return _NO_DOOR
    size &= _U32
    answer = await door.answer(size, lambda: caller.memory.read(ptr, size))
    place = await caller.call("host_alloc", len(answer))
    if not place:
        return _NO_ROOM
    assert isinstance(place, int)
    caller.memory.write(place, answer)
    caller.memory.write(answer_ptr, (place & _U32).to_bytes(4, "little"))
    caller.memory.write(answer_size, len(answer).to_bytes(4, "little"))
    return 0
