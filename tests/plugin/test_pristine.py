"""A pristine plugin: each call has an instance of its own, which is configured already."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from tests.plugin.answers import CLOSED, data

from wasmpool import GuestTrap, PoolUnavailable, ReloadFailed, SnapshotError
from wasmpool._http.policy import HttpPolicy
from wasmpool._plugin.errors import AbiError, ConfigureError, PluginClosed
from wasmpool._plugin.loader import open_loader
from wasmpool._plugin.plugin import open_plugin
from wasmpool._plugin.tool_result import ToolResult
from wasmpool_host import Module, host_function

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from wasmpool_host import Caller

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

SMALL = """(module (memory (export "memory") 1) {0}
  (func (export "malloc") (param i32) (result i32) i32.const 1024)
  (data (i32.const 8) "small") (data (i32.const 16) "{{\\"abi_version\\":1}}")
  (func (export "name") (result i64) i64.const 0x800000005)
  (func (export "metadata") (result i64) i64.const 0x1000000011)
  (func (export "tools") (result i64) i64.const 0)
  (func (export "configure") (param i64) (result i64) {1} i64.const 0)
  (func (export "execute") (param i64) (result i64) i64.const 0)
  (func (export "healthy") (result i32) i32.const 1))"""
"""A plugin that does something when it is configured; the first part is defined before it."""

CHANGES_A_TABLE = SMALL.format(
    "(table 1 funcref) (func $f) (elem declare func $f)", "(table.set (i32.const 0) (ref.func $f))"
)
SPINS = SMALL.format("", "(loop $l (br $l))")
TRAPS = SMALL.format("", "unreachable")


async def test_no_call_sees_another(example: Path) -> None:
    """What one call leaves in its instance is not there for the next; each is used once."""
    async with open_plugin(example, pristine=True, size=2) as plugin:
        for number in range(5):
            assert data(await plugin.execute("recall")) == {"value": None}
            await plugin.execute("remember", {"value": number})
        assert await plugin.healthy()
        retired = plugin.pool.statistics().retired
        assert {str(reason): count for reason, count in retired.items() if count} == {"uses": 11}


async def test_many_calls_at_once(example: Path) -> None:
    """In pristine instances, too, each has the answer to its own question."""
    async with (
        open_plugin(example, pristine=True, size=4) as plugin,
        trio.open_nursery() as nursery,
    ):

        async def call(number: int) -> None:
            answer = data(await plugin.execute("echo", {"message": number}))
            assert answer == {"echo": number}

        for number in range(100):
            nursery.start_soon(call, number)


async def test_each_instance_is_configured(each_plugin: Path, cache: Path) -> None:
    """Every plugin of the project describes itself and serves as without ``pristine``."""
    credentials = {"base_url": "http://host", "api_key": "key"}
    described, answers = [], []
    for pristine in (False, True):
        options: Any = {"credentials": credentials, "cache": cache, "size": 2}
        async with open_plugin(each_plugin, pristine=pristine, **options) as plugin:
            described.append((plugin.name, plugin.metadata, plugin.tools, plugin.compact_specs))
            answers.append(
                [await plugin.execute(tool, {"path": "/p"}) for tool in ("echo", "fetch") * 2]
            )
    assert described[0] == described[1]
    assert answers[0] == answers[1]


async def test_the_setup_is_done_once(wat: Callable[..., str]) -> None:
    """However many instances are started."""
    calls: list[str] = []

    @host_function("env", "note")
    def note(_caller: Caller) -> None:
        calls.append("configure")

    text = SMALL.format("", "(call $note)")
    text = text.replace("(module", '(module (import "env" "note" (func $note))')
    module = await Module.compile(text, imports=[note])
    async with open_plugin(module, pristine=True, credentials={}, size=4, min_size=4) as plugin:
        for _ in range(10):
            await plugin.execute("any")
        assert calls == ["configure"]
        await plugin.configure({"k": "v"})
        await plugin.execute("any")
        assert calls == ["configure"] * 2
        assert await plugin.reload(wat()) == 3
        assert await plugin.execute("credentials") == ToolResult('{"k":"v"}')


async def test_configure_and_reload_are_new_snapshots(wat: Callable[..., str]) -> None:
    """Each is a generation, whose instances all have the new credentials, or the new module."""
    async with open_plugin(wat(), pristine=True, credentials={"k": "old"}, size=3) as plugin:
        assert await plugin.execute("credentials") == ToolResult('{"k":"old"}')
        assert await plugin.configure({"k": "new"}) == 2
        for _ in range(5):
            assert await plugin.execute("credentials") == ToolResult('{"k":"new"}')
        assert await plugin.reload(wat(version="v2")) == 3
        for _ in range(5):
            assert await plugin.execute("version") == ToolResult("v2")
            assert await plugin.execute("credentials") == ToolResult('{"k":"new"}')
        assert await plugin.reload(wat(version="v2")) == 3
        assert await plugin.configure(None) == 4
        assert await plugin.execute("credentials") == ToolResult("")


async def test_calls_finish_with_what_they_began_with(
    example: Path, server: Any, until: Until
) -> None:
    """A call that is under way while the plugin is configured."""
    results: list[Any] = []
    options: Any = {"http": HttpPolicy(allow_private=True), "pristine": True, "size": 3}

    async def call() -> None:
        results.append(data(await plugin.execute("fetch", {"path": "/hang"})))

    async with (
        open_plugin(example, credentials={"base_url": server.url}, **options) as plugin,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(call)
        await until(lambda: server.waiting == 1)
        await plugin.configure({"base_url": f"{server.url}/nowhere"})
        assert results == []
        server.release.set()
    assert results == [{"status": 200, "body": "released"}]


async def test_credentials_that_are_refused(wat: Callable[..., str]) -> None:
    """As without ``pristine``: at the load, and for a plugin in service, which goes on."""
    with pytest.raises(ConfigureError, match="plugin 'wat_plugin' refused its credentials"):
        async with open_plugin(wat(), pristine=True, credentials={"refuse": "me"}):
            pass
    async with open_plugin(wat(), pristine=True, credentials={"k": "old"}) as plugin:
        with pytest.raises(ConfigureError, match="refused"):
            await plugin.configure({"refuse": "me"})
        assert await plugin.execute("credentials") == ToolResult('{"k":"old"}')
        assert plugin.pool.generation == 1


async def test_a_plugin_of_which_no_snapshot_can_be_made(wat: Callable[..., str]) -> None:
    """The load says why; a reload leaves the old module in service."""
    with pytest.raises(SnapshotError, match="table 0 was changed at run time"):
        async with open_plugin(CHANGES_A_TABLE, pristine=True, credentials={}):
            pass
    async with open_plugin(CHANGES_A_TABLE, pristine=True) as plugin:
        with pytest.raises(ReloadFailed, match="goes on as before: .* table 0 was") as failed:
            await plugin.configure({})
        assert isinstance(failed.value.__cause__, SnapshotError)
        assert await plugin.healthy()


@pytest.mark.parametrize(
    ("text", "cause", "says"),
    [
        (TRAPS, GuestTrap, "small.configure trapped: "),
        (SPINS, trio.TooSlowError, "took longer than start_timeout=0.3 s"),
    ],
)
async def test_a_plugin_that_cannot_be_configured(
    wat: Callable[..., str], text: str, cause: type[Exception], says: str
) -> None:
    """The cause is attached, as for an instance that cannot be started."""
    text = text.replace("(module", "(module $small", 1)
    options: Any = {"pristine": True, "credentials": {"k": "v"}, "start_timeout": 0.3}
    with pytest.raises(PoolUnavailable, match=says) as unavailable:
        async with open_plugin(text, name="given", **options):
            pass
    assert isinstance(unavailable.value.__cause__, cause)
    assert str(unavailable.value).startswith("plugin 'given': no snapshot was made of it: ")
    async with open_plugin(wat(), **options) as plugin:
        with pytest.raises(ReloadFailed, match=f"'wat_plugin' goes on as before.*{says}") as failed:
            await plugin.reload(text)
        assert isinstance(failed.value.__cause__, cause)
        assert await plugin.execute("credentials") == ToolResult('{"k":"v"}')


async def test_another_version_of_the_contract(wat: Callable[..., str]) -> None:
    """It is named as without ``pristine``."""
    with pytest.raises(AbiError, match="ABI version 2 of the plugin is not supported"):
        async with open_plugin(wat(abi="2"), pristine=True):
            pass


async def test_a_plugin_that_closes_while_it_is_configured(nursery: trio.Nursery) -> None:
    """The snapshot is given up at once, and nothing of it is left."""
    async with open_plugin(SPINS, pristine=True) as plugin:

        async def close() -> None:
            await trio.testing.wait_all_tasks_blocked(0.01)
            await plugin.aclose()

        nursery.start_soon(close)
        with trio.fail_after(60), pytest.raises(PluginClosed, match="plugin 'small' is closed"):
            await plugin.configure({})
        assert await plugin.execute("any") == CLOSED


async def test_a_configure_that_is_cancelled_anywhere(
    wat: Callable[..., str],
    cancelled_at: Callable[[int], AbstractContextManager[trio.CancelScope]],
) -> None:
    """The old credentials serve, or the new ones, and the next one goes on."""
    async with open_plugin(wat(), pristine=True, credentials={"k": "0"}, size=2) as plugin:
        step, done, served = 0, False, "0"
        while not done:
            step += 1
            with cancelled_at(step):
                await plugin.configure({"k": str(step)})
                done = True
            seen = json.loads((await plugin.execute("credentials")).data)["k"]
            assert seen in ({str(step)} if done else {served, str(step)})
            served = seen
        assert step > 5
        assert await plugin.configure({"k": "last"})
        assert await plugin.execute("credentials") == ToolResult('{"k":"last"}')


async def test_credentials_are_in_no_cache(example: Path, tmp_path: Path) -> None:
    """The plugin's own code is kept there, and the copy's that is set up; the snapshot's is not."""
    secret = "correct-horse-battery-staple"  # noqa: S105 - it is none
    credentials = {"base_url": "http://host", "api_key": secret}
    async with open_plugin(
        example, pristine=True, credentials=credentials, cache=tmp_path
    ) as plugin:
        await plugin.configure({**credentials, "api_key": f"{secret}-2"})
        await plugin.execute("echo", {"message": 1})
    entries = list(tmp_path.iterdir())
    assert len(entries) == 2
    assert not any(secret.encode() in entry.read_bytes() for entry in entries)


async def test_a_loader_of_pristine_plugins(example: Path, wat: Callable[..., str]) -> None:
    """The option is for each plugin that it loads."""
    async with open_loader(pristine=True) as loader:
        plugin = await loader.load(example)
        await plugin.execute("remember", {"value": 1})
        assert data(await plugin.execute("recall")) == {"value": None}
        other = await loader.load(wat(), credentials={"k": "v"})
        assert await other.execute("credentials") == ToolResult('{"k":"v"}')
        assert await loader.load(wat(version="v2")) is other
        assert await other.execute("credentials") == ToolResult('{"k":"v"}')


async def test_options_that_do_not_go_together(example: Path) -> None:
    """An instance serves one call, so ``max_uses`` may say nothing else."""
    with pytest.raises(ValueError, match="max_uses=2 and pristine=True"):
        open_plugin(example, pristine=True, max_uses=2)
    with pytest.raises(TypeError, match="pristine must be True or False, not 'yes'"):
        open_plugin(example, pristine="yes")  # type: ignore[arg-type]  # as it says
    async with open_plugin(example, pristine=True, max_uses=1, min_size=0) as plugin:
        assert plugin.tools
        assert data(await plugin.execute("recall")) == {"value": None}
