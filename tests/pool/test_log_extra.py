"""Log records say whose they are: the pool, the plugin, the instance and the tool."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.pool.fakes import FakeModule
from trio.testing import MockClock, wait_all_tasks_blocked

from wasmpool import Caller, Module, host_function, open_plugin, open_pool

PRINTS = r"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "env" "note" (func $note))
  (memory (export "memory") 1)
  (data (i32.const 8) "\10\00\00\00\06\00\00\00hello\n")
  (func $print (export "print") (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0))))
  (func (export "print_some") (i32.store (i32.const 12) (i32.const 3)) call $print)
  (func (export "note") call $note)
  (func (export "_start") call $print))"""  # noqa: E501 - a module reads best so


PLUGIN = (Path(__file__).parents[1] / "guests" / "wat_plugin.wat").read_text()
EXECUTE = """(func (export "execute") (param $payload i64) (result i64)
    (local $ptr i32) (local $size i32) (local $at i32)
"""
LOG = '(import "env" "host_log" (func $log (param i32 i32)))'


def logging_plugin() -> str:
    """The plugin by hand, which logs a line in each ``execute``."""
    assert PLUGIN.count("(module\n") == PLUGIN.count(EXECUTE) == 1
    logs = f"{EXECUTE}    (call $log (i32.const 16) (i32.const 10))\n"
    return PLUGIN.replace("(module\n", f"(module {LOG}\n").replace(EXECUTE, logs)


def whose(record: logging.LogRecord) -> tuple[Any, ...]:
    return tuple(getattr(record, name) for name in ("pool", "plugin", "instance", "tool"))


@pytest.fixture(autouse=True)
def _all_records(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@host_function("env", "note")
def note(caller: Caller) -> None:
    logging.getLogger("mine").info("noted", extra=caller.log_extra)


async def test_what_a_guest_prints_is_its_instances(caplog: pytest.LogCaptureFixture) -> None:
    """Whole lines and a last one without its end, in calls and in programs."""
    module = await Module.compile(PRINTS, imports=[note])
    async with open_pool(module, size=1, name="printers") as pool:
        await pool.call("print")
        await pool.call("print_some")
        await pool.call("note")
        await pool.run(stdout="log")
        await pool.call("print")
    assert [record.getMessage() for record in caplog.records] == [
        "hello", "hel", "noted", "hel", "hello",
    ]  # fmt: skip
    assert [whose(record) for record in caplog.records] == [
        *[("printers", None, 1, None)] * 4,
        ("printers", None, 2, None),
    ]


async def test_a_guest_outside_of_a_pool_is_nobodys(caplog: pytest.LogCaptureFixture) -> None:
    """The attributes are there all the same, for a format that names them."""
    module = await Module.compile(PRINTS, imports=[note])
    instance = await module.instantiate()
    await instance.call("print")
    await instance.call("note")
    await instance.aclose()
    assert [whose(record) for record in caplog.records] == [(None,) * 4] * 2


async def test_a_plugins_lines_name_the_plugin_and_the_tool(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From its setup on, where there is no tool, and by its name of the moment."""
    async with open_plugin(logging_plugin(), size=1) as plugin:
        assert plugin.name == "wat_plugin"
        await plugin.execute("echo", {"message": 1})
        async with plugin.pool.lease() as lease:
            await lease.exchange("execute", b'{"tool_name":"echo"}')
        await plugin.execute("version")
    lines = [whose(each) for each in caplog.records if each.name == "wasmpool.plugin"]
    name = "wat_plugin"
    assert lines == [
        (name, name, 1, "echo"),
        (name, name, 1, None),
        (name, name, 1, "version"),
    ]


async def test_a_call_that_waited_has_its_tool(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each call of several has its own."""
    tools = ["echo", "version", "plain", "credentials"]
    async with open_plugin(logging_plugin(), size=1) as plugin, trio.open_nursery() as nursery:
        for tool in tools:
            nursery.start_soon(plugin.execute, tool)
    lines = [whose(each)[3] for each in caplog.records if each.name == "wasmpool.plugin"]
    assert sorted(lines) == sorted(tools)


async def test_the_pools_own_records_name_it(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """A leak and a failed check name the instance as well; an instrument has none."""

    class Broken:
        def lease_granted(self, *_: object) -> None:
            raise ValueError("broken")

    module = FakeModule()
    async with open_pool(
        module, size=1, name="mine", check=lambda _: False, leak_after=1, instruments=[Broken()]
    ) as pool:
        async with pool.lease():
            await trio.sleep(2)
        await trio.sleep(2)
        await pool.call("echo", 1)
        await wait_all_tasks_blocked()
    assert [(record.levelname, *whose(record)) for record in caplog.records] == [
        ("ERROR", "mine", None, None, None),
        ("WARNING", "mine", None, 1, None),
        ("INFO", "mine", None, 1, None),
    ]
