"""Each call of a tool has its own answer, whatever other calls do."""

from __future__ import annotations

import logging
import tracemalloc
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import trio
import trio.testing
from tests.plugin.answers import data

from wasmpool._errors import PoolSaturated
from wasmpool._http.policy import HttpPolicy
from wasmpool._plugin.environment import PluginEnvironment
from wasmpool._plugin.loader import open_loader
from wasmpool._plugin.plugin import open_plugin
from wasmpool._plugin.tool_result import ToolResult
from wasmpool_host import (
    GuestExit,
    GuestTrap,
    Limits,
    Module,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


LOCAL = HttpPolicy(allow_private=True)


async def test_execute_in_each_plugin(each_plugin: Path, cache: Path) -> None:
    """Every plugin of the contract runs, whatever it is written in."""
    async with open_plugin(each_plugin, cache=cache) as plugin:
        result = await plugin.execute("echo", {"message": "grüße"})
        assert "grüße" in result.data
        assert not result.is_error
        assert (await plugin.execute("no such tool", {})).is_error
        assert await plugin.healthy() is True


async def test_who_holds_the_instance_for_which_tool(
    example: Path, nursery: trio.Nursery, until: Callable[[Callable[[], bool]], Awaitable[None]]
) -> None:
    """Its lease and the error of a full pool name the tool, which a task's name does not tell."""
    async with open_plugin(example, size=1, max_waiting=0) as plugin:
        naps = partial(plugin.execute, "nap", {"ms": 60_000})
        nursery.start_soon(naps, name="the napping task")
        await until(lambda: any(lease.tool for lease in plugin.pool.leases()))
        (lease,) = plugin.pool.leases()
        assert (lease.holder, lease.tool) == ("the napping task", "nap")
        with pytest.raises(PoolSaturated, match="by task 'the napping task' for tool 'nap'$"):
            await plugin.execute("echo", {"message": 1})
        nursery.cancel_scope.cancel()


async def test_a_reply_that_is_no_json(wat: Callable[..., str]) -> None:
    """It is data as it stands; a JSON object without data is an empty result."""
    async with open_plugin(wat()) as plugin:
        assert await plugin.execute("plain") == ToolResult("plain text")
        assert await plugin.execute("overlap") == ToolResult("")


@pytest.mark.parametrize(
    "args", [{"a": object()}, {"a": float("nan")}, {"a": {1, 2}}, {"a": b"x"}, {"a": "\ud800"}]
)
async def test_arguments_that_are_no_json(example: Path, args: dict[str, Any]) -> None:
    """An error result that says so; the guest is not called."""
    async with open_plugin(example) as plugin:
        with trio.testing.assert_checkpoints():
            result = await plugin.execute("echo", args)
        assert result.is_error
        assert result.data.startswith("the arguments cannot be written as JSON: ")
        assert plugin.pool.statistics().asked == 0


async def test_arguments_that_hold_themselves(example: Path) -> None:
    """They are refused where the cycle closes, not after writing them a thousand times over."""
    args: dict[str, Any] = {"text": "x" * 1_000_000}
    args["itself"] = args
    async with open_plugin(example) as plugin:
        tracemalloc.start()
        result = await plugin.execute("echo", args)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert result.data == "the arguments cannot be written as JSON: Circular reference detected"
    assert peak < 50_000_000


@pytest.mark.parametrize("args", [[1, 2], "text", 7, [("a", 1)]])
async def test_arguments_that_are_no_mapping(example: Path, args: Any) -> None:
    """An error result that names them; the guest is not called."""
    async with open_plugin(example) as plugin:
        result = await plugin.execute("echo", args)
        assert result.is_error
        assert result.data.endswith(f"must be a mapping of names to values, not {args!r}")
        assert plugin.pool.statistics().asked == 0


async def test_any_mapping_is_an_object(example: Path) -> None:
    """Not only a dict."""
    async with open_plugin(example) as plugin:
        result = await plugin.execute("echo", MappingProxyType({"message": 1}))
        assert data(result) == {"echo": 1}


async def test_a_guest_that_fails(example: Path) -> None:
    """A trap and an exit are raised, and the next call has an instance as before."""
    async with open_plugin(example, size=1) as plugin:
        with pytest.raises(GuestTrap):
            await plugin.execute("crash", {})
        with pytest.raises(GuestExit, match="3"):
            await plugin.execute("quit", {"status": 3})
        assert data(await plugin.execute("echo", {"message": 1})) == {"echo": 1}


async def test_isolation(example: Path) -> None:
    """What one instance remembers another does not, and max_uses=1 has none remember."""
    async with open_plugin(example, max_uses=1) as plugin:
        await plugin.execute("remember", {"value": 1})
        assert data(await plugin.execute("recall", {})) != {"value": 1}


async def test_a_guest_that_is_not_well(wat: Callable[..., str]) -> None:
    """Any guest error is False."""
    text = wat(without="healthy").rstrip().removesuffix(")")
    async with open_plugin(f'{text} (func (export "healthy") (result i32) unreachable))') as plugin:
        assert await plugin.healthy() is False
    async with open_plugin(f'{text} (func (export "healthy") (result i32) i32.const 2))') as plugin:
        assert await plugin.healthy() is False


async def test_host_log(caplog: pytest.LogCaptureFixture) -> None:
    """One call is one line, at info, that begins with the plugin's name."""
    text = """(module (import "env" "host_log" (func $log (param i32 i32)))
         (memory (export "memory") 1)
         (func (export "malloc") (param i32) (result i32) i32.const 4096)
         (data (i32.const 8) "loud") (data (i32.const 16) "{\\"abi_version\\":1}")
         (data (i32.const 64) "one\\ntwo\\ff")
         (func (export "name") (result i64) i64.const 0x800000004)
         (func (export "metadata") (result i64) i64.const 0x1000000011)
         (func (export "tools") (result i64) i64.const 0)
         (func (export "configure") (param i64) (result i64) i64.const 0)
         (func (export "execute") (param i64) (result i64) i64.const 0)
         (func (export "healthy") (result i32)
           (call $log (i32.const 64) (i32.const 8))
           (call $log (i32.const 0) (i32.const 65535)) i32.const 1))"""
    caplog.set_level(logging.INFO, logger="wasmpool.plugin")
    async with open_plugin(text) as plugin:
        assert await plugin.healthy()
    first, second = [record.getMessage() for record in caplog.records]
    assert first == "loud: one\\ntwo\ufffd"
    assert second.startswith("loud: \\x00")


async def test_a_log_line_is_escaped(caplog: pytest.LogCaptureFixture) -> None:
    """A guest's line, and its name, send nothing to a terminal and begin no line of their own."""
    said: list[str] = []

    class Memory:
        def read(self, ptr: int, size: int) -> bytes:
            return said[-1].encode()[ptr : ptr + size]

    class Caller:
        memory = Memory()
        log_extra: ClassVar[dict[str, object]] = {"pool": "p"}

    host = PluginEnvironment(None, Limits(), None, None)
    host.name = lambda: "a\nb"
    host_log = host.imports[0]
    caplog.set_level(logging.INFO, logger="wasmpool.plugin")
    for text in ("\x1b[2J\u202edone\r\n", "one\ntwo\n", "x" * 70_000, ""):
        said.append(text)
        host_log(Caller(), 0, len(text.encode()))
    first, second, third, fourth = [record.getMessage() for record in caplog.records]
    assert first == r"a\nb: \x1b[2J\u202edone"
    assert second == r"a\nb: one\ntwo"
    assert third == rf"a\nb: {'x' * 8_192} ... (70,000 bytes)"
    assert fourth == r"a\nb: "


@pytest.mark.parametrize("name", [None, "mine"])
async def test_host_log_during_the_load(
    wat: Callable[..., str], caplog: pytest.LogCaptureFixture, name: str | None
) -> None:
    """The lines carry the override or the module's name: the plugin's own is not known yet."""
    import_log = '(module $early (import "env" "host_log" (func $log (param i32 i32)))'
    text = wat(without="name").replace("(module", import_log, 1).rstrip().removesuffix(")")
    text += """(func (export "name") (result i64)
        (call $log (i32.const 0) (i32.const 0)) (i64.const 0)))"""
    caplog.set_level(logging.INFO, logger="wasmpool.plugin")
    module = await Module.compile(
        text, imports=PluginEnvironment(LOCAL, Limits(), None, None).imports
    )
    async with open_plugin(text, name=name):
        assert [record.getMessage() for record in caplog.records] == [f"{name or module.name}: "]
    caplog.clear()
    async with open_loader() as loader:
        await loader.load(text, name)
        assert {record.getMessage() for record in caplog.records} == {f"{name or module.name}: "}


async def test_a_large_answer_is_whole(example: Path) -> None:
    """To the character, though it is read in pieces."""
    text = "x é \U0001f600 \n" * 20_000
    async with open_plugin(example) as plugin:
        assert data(await plugin.execute("echo", {"message": text})) == {"echo": text}


async def test_each_reply_is_the_callers_own(example: Path) -> None:
    """32 tasks, 8 executes each, on 4 instances."""

    async def caller(task: int) -> None:
        for call in range(8):
            message = f"{task}/{call}"
            assert data(await plugin.execute("echo", {"message": message})) == {"echo": message}

    async with open_plugin(example, size=4) as plugin, trio.open_nursery() as nursery:
        for task in range(32):
            nursery.start_soon(caller, task)


async def test_everything_at_once(example: Path) -> None:
    """20 tasks mix execute, tools, name, healthy and metadata."""

    async def caller(task: int) -> None:
        for turn in range(10):
            match (task + turn) % 5:
                case 0:
                    assert data(await plugin.execute("echo", {"message": turn})) == {"echo": turn}
                case 1:
                    assert plugin.tools
                case 2:
                    assert plugin.name == "example"
                case 3:
                    assert await plugin.healthy()
                case 4:
                    assert plugin.metadata is not None
            await trio.lowlevel.checkpoint()

    async with open_plugin(example, size=2) as plugin, trio.open_nursery() as nursery:
        for task in range(20):
            nursery.start_soon(caller, task)


async def test_a_guest_that_leaks_is_recycled(leaky: Path) -> None:
    """A free that traps fails no call, and `max_memory` retires the instances that have grown."""
    async with open_plugin(leaky, size=2, max_memory=1 << 20) as plugin:
        message = "x" * 10_000
        for _ in range(300):
            result = await plugin.execute("echo", {"message": message})
            assert not result.is_error
        statistics = plugin.pool.statistics()
        assert statistics.retired["memory"] >= 3
        assert statistics.retired["trap"] == 0
