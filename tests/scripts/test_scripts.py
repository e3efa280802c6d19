"""Scripts, their door and their limits, on a small interpreter that speaks as CPython does."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from typing import TYPE_CHECKING, Any, cast, final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from wasmpool import PoolTimeout, ToolResult
from wasmpool._scripts import ScriptLimits, open_scripts
from wasmpool._scripts.ended import ScriptEnded
from wasmpool._scripts.output import Output

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.scripts.conftest import Open, Tools

    from wasmpool import Module, Pool
    from wasmpool._scripts import Scripts
    from wasmpool._scripts.interpreter import Interpreter

MIB = 1 << 20
LITTLE = partial(ScriptLimits, memory=64 * MIB, seconds=30)


def call(tool: str, **arguments: Any) -> str:
    return "ask " + json.dumps({"op": "call", "tool": tool, "arguments": arguments})


def map_(tool: str, arguments: list[Any], limit: Any = 8) -> str:
    request = {"op": "map", "tool": tool, "arguments": arguments, "limit": limit}
    return "ask " + json.dumps(request)


async def pool_of(scripts: Scripts) -> Pool:
    pool = await scripts.pool()
    assert pool is not None
    return pool


async def answer(scripts: Scripts, script: str) -> Any:
    """Run a script that ends well; return what it printed, as JSON."""
    result = await scripts.run(script)
    assert not result.is_error, result
    return json.loads(result.data)


# --- output and end ---


async def test_what_a_script_prints_comes_back(scripts: Scripts) -> None:
    """Both streams in the order of writing, without the last line break."""
    result = await scripts.run("say one\nwarn two\nsay grüezi\nsay")
    assert result == ToolResult("one\ntwo\ngrüezi\n")


async def test_a_script_without_output_has_an_empty_result(scripts: Scripts) -> None:
    """And no error."""
    assert await scripts.run("") == ToolResult("")


def test_output_need_not_be_text() -> None:
    """What is no UTF-8 is escaped, also where the bound has cut a character."""
    output = Output(3)
    with pytest.raises(ScriptEnded, match="it printed more than 3 bytes"):
        output.write(b"\xffa\xc3\xbc")
    assert output.text() == "\\xffa\\xc3"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 3", "the script exited with status 3"),
        ("exit 70", "the script failed, and could not print why"),
        ("say why\nexit 70", "why"),
        ("say so far\nexit 1", "so far\nthe script exited with status 1"),
        ("panic", "the script was ended: its interpreter has failed"),
        ("dig", "the script was ended: its calls are nested too deeply"),
        ("outside", "the script was ended: its interpreter has failed"),
        ("beyond", "the script was ended: its interpreter has failed"),
    ],
)
async def test_each_bad_end_is_an_error_in_a_sentence(
    scripts: Scripts, script: str, said: str
) -> None:
    """After what the script has printed until then; the next one runs."""
    assert await scripts.run(script) == ToolResult(said, is_error=True)
    assert await scripts.run("say on") == ToolResult("on")


async def test_what_one_script_leaves_is_not_seen_by_the_next(scripts: Scripts) -> None:
    """Neither memory nor files."""
    assert await scripts.run("remember\nremember") == ToolResult("0 no file\n1 a file")
    assert {(await scripts.run("remember")).data for _ in range(5)} == {"0 no file"}


# --- the door ---


async def test_a_tool_is_called(scripts: Scripts, tools: Tools) -> None:
    """With its arguments; its text comes back, and so does its error."""
    assert await answer(scripts, call("echo", text="a")) == {"ok": True, "data": "a"}
    assert await answer(scripts, call("fail", text="why")) == {"ok": False, "error": "why"}
    assert tools.calls == [("echo", {"text": "a"}), ("fail", {"text": "why"})]


async def test_an_error_of_a_pool_is_an_error_in_the_script(opened: Open) -> None:
    """So a plugin's execute can be given as it is."""

    async def busy(tool: str, arguments: object) -> ToolResult:
        raise PoolTimeout("all are busy")

    async with opened(call=busy) as scripts:
        assert await answer(scripts, call("any")) == {"ok": False, "error": "all are busy"}


@pytest.mark.parametrize("limit", [1, 2])
async def test_an_error_of_the_application_comes_out_as_it_is(
    scripts: Scripts, tools: Tools, limit: int
) -> None:
    """In no group, also from a map; the other calls are cancelled, and the next script runs."""
    with pytest.raises(KeyError, match="of the application"):
        await scripts.run(map_("broken", [{}, {}], limit))
    assert await scripts.run("say on") == ToolResult("on")


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ("garbage", "the request is not JSON"),
        ("[" * 3000, "the request is not JSON"),
        ("[1]", "the request is not a JSON object"),
        ('{"op": "end"}', "the request asks for nothing that there is: 'begin', 'call' or 'map'"),
        ('{"op": "call", "tool": 1}', "the name of a tool is a string"),
        ('{"op": "call", "tool": "t"}', "the arguments of a call are a dict, by name"),
        (
            json.dumps({"op": "call", "tool": "t" * 1001, "arguments": {}}),
            "no tool has a name of 1,001 characters",
        ),
        (
            '{"op": "map", "tool": "t", "arguments": {}, "limit": 1}',
            "a map takes a list of arguments, a dict for each call",
        ),
        (
            '{"op": "map", "tool": "t", "arguments": [1], "limit": 1}',
            "the arguments of a call are a dict, by name",
        ),
        (
            '{"op": "map", "tool": "t", "arguments": [], "limit": 0}',
            "the limit of a map is a number from 1",
        ),
        (
            '{"op": "map", "tool": "t", "arguments": [], "limit": true}',
            "the limit of a map is a number from 1",
        ),
        (
            json.dumps({"op": "call", "tool": "t", "arguments": {"a": [0] * 100_000}}),
            "the arguments have more than 100,000 parts",
        ),
    ],
)
async def test_a_bad_request_is_an_error_in_the_script(
    opened: Open, tools: Tools, request_: str, error: str
) -> None:
    """No tool is called, and the script goes on."""
    async with opened(limits=LITTLE(source_bytes=MIB)) as scripts:
        result = await scripts.run(f"ask {request_}\nsay on")
    refused, on = result.data.splitlines()
    assert json.loads(refused) == {"ok": False, "error": error}
    assert on == "on"
    assert tools.calls == []


async def test_output_cannot_be_taken_for_a_request(scripts: Scripts, tools: Tools) -> None:
    """What is printed goes another way."""
    request = '{"op":"call","tool":"echo","arguments":{}}'
    assert await scripts.run(f"say {request}") == ToolResult(request)
    assert tools.calls == []


async def test_a_tool_may_answer_with_any_text(opened: Open) -> None:
    """Even with half of a surrogate pair, which a plugin can write in JSON."""

    async def odd(tool: str, arguments: object) -> ToolResult:
        return ToolResult('"\n\\\ud800\0')

    async with opened(call=odd) as scripts:
        result = await scripts.run(call("any"))
    assert json.loads(result.data) == {"ok": True, "data": '"\n\\\ud800\0'}


async def test_an_answer_needs_memory_in_the_script(scripts: Scripts) -> None:
    """If there is none the script is told so, and goes on."""
    script = f"full\n{call('echo', text='a')}\nsay on"
    assert await scripts.run(script) == ToolResult("code -2\non")


async def test_without_a_script_there_is_no_door(scripts: Scripts) -> None:
    """An interpreter that is run by other code gets no tools."""
    done = await (await pool_of(scripts)).run()
    assert done.returncode == 0xFFFF_FFFF  # what it was told, -1


# --- map ---


async def test_a_map_keeps_the_order_of_its_arguments(scripts: Scripts, tools: Tools) -> None:
    """Whichever call is the first to end; an error is in its place."""
    script = map_("echo", [{"text": n} for n in range(50)], limit=16)
    got = await answer(scripts, script)
    assert got["results"] == [{"ok": True, "data": str(n)} for n in range(50)]
    got = await answer(scripts, map_("fail", [{"text": "why"}]))
    assert got == {"ok": True, "results": [{"ok": False, "error": "why"}]}
    assert await answer(scripts, map_("echo", [])) == {"ok": True, "results": []}


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (3, 3), (16, 8), (10**30, 8)])
async def test_a_map_runs_as_many_calls_at_once_as_it_may(
    opened: Open, tools: Tools, limit: int, most: int
) -> None:
    """What it asks for, or what the host allows."""
    async with opened(limits=LITTLE(at_once=8)) as scripts, trio.open_nursery() as nursery:
        nursery.start_soon(answer, scripts, map_("wait", [{}] * 20, limit))
        await tools.until(most)
        await wait_all_tasks_blocked()
        assert tools.waiting == most
        tools.gate.set()
    assert (len(tools.calls), tools.most) == (20, most)


# --- limits ---


@pytest.mark.parametrize(
    ("limits", "script", "said"),
    [
        ({"calls": 5}, "repeat 6 {}", ""),
        ({"seconds": 0.2}, "say on\nspin", "on\nthe script was ended: it took longer than 0.2 s"),
        ({"source_bytes": 5}, "say grü", "the script was not run: it has 8 bytes, and may have 5"),
        (
            {"output_bytes": 9},
            "flood",
            "and on\nan\nthe script was ended: it printed more than 9 bytes",
        ),
        (
            {"calls": 4},
            map_("echo", [{}] * 5),
            "the script was ended: it made more than 4 calls",
        ),
        (
            {"calls": 4},
            "repeat 10000 " + call("echo").removeprefix("ask "),
            "the script was ended: it made more than 4 calls",
        ),
        (
            {"output_bytes": 9},
            "warn 0123456789",
            "012345678\nthe script was ended: it printed more than 9 bytes",
        ),
    ],
)
async def test_a_limit_ends_a_script_in_a_sentence(
    opened: Open, limits: dict[str, Any], script: str, said: str
) -> None:
    """After what it has printed, and the next script runs; a request that is none is no call."""
    async with opened(limits=LITTLE(**limits)) as scripts:
        assert await scripts.run(script) == ToolResult(said, is_error=bool(said))
        assert await scripts.run("say") == ToolResult("")


async def test_memory_is_bounded(opened: Open) -> None:
    """The interpreter is told that there is no more, which is its own error."""
    async with opened() as scripts:
        assert await scripts.run("hoard") == ToolResult("less")


async def test_a_long_request_is_refused_unread(opened: Open, tools: Tools) -> None:
    """As an error of that call."""
    async with opened(limits=LITTLE(request_bytes=1024)) as scripts:
        long = await answer(scripts, "long 1025")
        assert long["error"] == "the arguments have 1,025 bytes as JSON; a request has 1,024"
        assert (await answer(scripts, "long 1024"))["error"] == "the request is not JSON"


async def test_what_tools_return_is_bounded(opened: Open) -> None:
    """For each call, and for all of a map together: an error in the place of the rest."""
    async with opened(limits=LITTLE(answer_bytes=1024)) as scripts:
        long = await answer(scripts, call("echo", text="x" * 1100))
        assert long == {
            "ok": False,
            "error": "'echo' returned 1,121 bytes as JSON; a script gets 1,024",
        }
        got = await answer(scripts, map_("echo", [{"text": "x" * 400}] * 4, limit=1))
        assert [each["ok"] for each in got["results"]] == [True, True, False, False]
        said = "the calls of this map returned more than 1,024 bytes"
        assert got["results"][3]["error"] == said


async def test_a_source_that_is_no_unicode_is_refused(scripts: Scripts) -> None:
    """Half of a surrogate pair has no bytes."""
    result = await scripts.run("say \ud800")
    assert result == ToolResult(
        "the script was not run: it holds half of a surrogate pair", is_error=True
    )


async def test_scripts_wait_for_an_interpreter(opened: Open, tools: Tools) -> None:
    """A hundred of them; one more is refused, and one that waited long enough, too."""
    refused = []

    async def run(scripts: Scripts, script: str) -> None:
        result = await scripts.run(script)
        if result.is_error:
            refused.append(result.data)

    async with opened(size=1) as scripts, trio.open_nursery() as nursery:
        nursery.start_soon(run, scripts, call("wait"))
        await tools.until(1)
        for _ in range(101):
            nursery.start_soon(run, scripts, "")
        await wait_all_tasks_blocked()
        tools.gate.set()
    assert refused == ["the script was not run: too many others run"]


async def test_a_script_cannot_run_another_one(opened: Open) -> None:
    """It would hold an interpreter, and wait for one: nothing may wait for ever."""

    async def nested(tool: str, arguments: object) -> ToolResult:
        return await scripts.run("say inner")

    async with opened(size=1, call=nested) as scripts:
        for script in (call("any"), map_("any", [{}, {}])):
            assert "a script cannot run another one" in (await scripts.run(script)).data


@pytest.mark.parametrize(
    ("limits", "error", "said"),
    [
        ({"seconds": 0}, ValueError, "ScriptLimits.seconds must be above 0 seconds"),
        ({"seconds": float("inf")}, ValueError, "ScriptLimits.seconds must be above 0 seconds"),
        ({"seconds": "1"}, TypeError, "ScriptLimits.seconds must be a number of seconds, not '1'"),
        ({"calls": -1}, ValueError, "ScriptLimits.calls must be from 0 to 1,000,000, not -1"),
        ({"calls": True}, TypeError, "ScriptLimits.calls must be an int, not True"),
        ({"memory": 1}, ValueError, "ScriptLimits.memory must be from 67,108,864 to"),
    ],
)
def test_limits_are_checked(limits: dict[str, Any], error: type[Exception], said: str) -> None:
    """The message names the limit and the value."""
    with pytest.raises(error, match=said):
        ScriptLimits(**limits)


# --- cancel and close ---


@pytest.mark.parametrize("script", [call("wait"), map_("wait", [{}] * 3)])
async def test_a_cancel_ends_the_script_and_its_calls(
    scripts: Scripts, tools: Tools, script: str
) -> None:
    """All that are under way."""
    count = script.count("{}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scripts.run, script)
        await tools.until(count)
        nursery.cancel_scope.cancel()
    assert (tools.waiting, tools.cancelled) == (0, count)
    assert (await pool_of(scripts)).leases() == ()
    assert await scripts.run("say on") == ToolResult("on")


async def test_the_end_of_its_time_ends_the_calls_of_a_script(opened: Open, tools: Tools) -> None:
    """All that are under way."""
    async with opened(limits=LITTLE(seconds=0.2)) as scripts:
        result = await scripts.run(map_("wait", [{}] * 3))
    assert result.data == "the script was ended: it took longer than 0.2 s"
    assert (tools.waiting, tools.cancelled) == (0, 3)


async def test_a_cancel_at_any_step_leaves_nothing(
    scripts: Scripts,
    tools: Tools,
    cancelled_at: Callable[[int], Any],
    until: Callable[[Callable[[], bool]], Awaitable[None]],
) -> None:
    """No call is under way, no interpreter is leased, and the next script has a door of its own."""
    script = f"say a\n{map_('echo', [{}, {}])}"
    for step in range(1, 200):
        with cancelled_at(step) as scope:
            await scripts.run(script)
        assert tools.waiting == 0
        assert (await pool_of(scripts)).leases() == ()
        if not scope.cancel_called:
            break
    else:
        pytest.fail("a script takes more steps than were cancelled")
    assert step > 5
    assert await scripts.run("say on") == ToolResult("on")


async def test_a_close_ends_scripts(opened: Open, tools: Tools) -> None:
    """Those that run and those that wait say so, and nothing is left."""
    results = []

    async def run(scripts: Scripts) -> None:
        results.append((await scripts.run(call("wait"))).data)

    async with opened(size=1) as scripts, trio.open_nursery() as nursery:
        nursery.start_soon(run, scripts)
        await tools.until(1)
        nursery.start_soon(run, scripts)
        await wait_all_tasks_blocked()
        await (await pool_of(scripts)).aclose(grace=0)
    assert "the script was ended: the server is ending" in results
    assert any(each.startswith("the script was not run: ") for each in results)
    assert tools.waiting == 0


# --- scripts that come before there is an interpreter ---


@final
class LateModule:
    """An interpreter whose module is there when it is said so; or never."""

    def __init__(self, interpreter: Interpreter) -> None:
        self.started, self.ready, self.cancelled = trio.Event(), trio.Event(), False
        self.error: Exception | None = None
        self._interpreter = interpreter
        self.args, self.export = interpreter.args, interpreter.export

    async def compile(self, limits: ScriptLimits, cache: Path) -> Module:
        self.started.set()
        try:
            await self.ready.wait()
        except trio.Cancelled:
            self.cancelled = True
            raise
        if self.error is not None:
            raise self.error
        return await self._interpreter.compile(limits, cache)


@pytest.fixture
def late(runner: Interpreter) -> LateModule:
    return LateModule(runner)


def open_late(late: LateModule, tools: Tools, cache: Path, **limits: Any) -> Any:
    given = cast("Any", late)
    return open_scripts(tools.call, cache=cache, interpreter=given, limits=LITTLE(**limits))


async def test_a_script_waits_until_the_interpreter_is_compiled(
    late: LateModule, tools: Tools, cache: Path
) -> None:
    """The block is entered before."""
    results = []

    async def run(scripts: Scripts) -> None:
        results.append(await scripts.run("say on"))

    async with open_late(late, tools, cache) as scripts, trio.open_nursery() as nursery:
        nursery.start_soon(run, scripts)
        await wait_all_tasks_blocked()
        assert results == []
        late.ready.set()
    assert results == [ToolResult("on")]


async def test_a_script_does_not_wait_longer_than_it_may_take(
    late: LateModule, tools: Tools, cache: Path
) -> None:
    """Then it is told to come again."""
    async with open_late(late, tools, cache, seconds=0.05) as scripts:
        said = "the script was not run: its interpreter is not ready; try again later"
        assert await scripts.run("say on") == ToolResult(said, is_error=True)


async def test_an_interpreter_that_cannot_be_compiled_is_logged(
    late: LateModule, tools: Tools, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And scripts are refused."""
    late.error = OSError("no room on the disk")
    late.ready.set()
    async with open_late(late, tools, cache) as scripts:
        said = "the script was not run: the server cannot run any"
        assert await scripts.run("say on") == ToolResult(said, is_error=True)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("wasmpool.scripts", "ERROR")
    assert record.getMessage() == "no scripts can be run: OSError: no room on the disk"


@pytest.mark.parametrize("how", ["end", "error", "cancel"])
async def test_the_end_of_the_block_ends_a_compilation(
    late: LateModule, tools: Tools, cache: Path, how: str
) -> None:
    """However it ends; an error comes out as it is."""
    with trio.CancelScope() as scope, contextlib.suppress(LookupError):
        async with open_late(late, tools, cache):
            await late.started.wait()
            if how == "error":
                raise LookupError
            if how == "cancel":
                scope.cancel()
                await trio.sleep_forever()
    assert late.cancelled


async def test_the_end_of_the_block_lets_scripts_end_but_an_error_does_not(
    opened: Open, tools: Tools
) -> None:
    """As it is for a pool."""
    results = []

    async def run(scripts: Scripts) -> None:
        results.append((await scripts.run(call("wait"))).data)

    async with trio.open_nursery() as nursery:
        async with opened() as scripts:
            nursery.start_soon(run, scripts)
            await tools.until(1)
            tools.gate.set()
        tools.gate = trio.Event()
        with contextlib.suppress(LookupError):
            async with opened() as scripts:
                nursery.start_soon(run, scripts)
                await tools.until(1)
                raise LookupError
    assert results == ['{"ok":true,"data":""}', "the script was ended: the server is ending"]
