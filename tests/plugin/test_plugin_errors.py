"""What is wrong with a plugin is told completely, by every call alike, and by the right name."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from wasmpool._errors import LeaseRevoked, PoolTimeout, PoolUnavailable, ReloadFailed
from wasmpool._plugin.errors import AbiError, ConfigureError
from wasmpool._plugin.inspect import inspect_plugin
from wasmpool._plugin.loader import open_loader
from wasmpool._plugin.plugin import open_plugin
from wasmpool_host import CompileError, GuestMemoryError, LinkError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

PARTS = {
    "name": '(func (export "name") (result i64) i64.const 0x800000002)',
    "metadata": '(func (export "metadata") (result i64) i64.const 0x1000000011)',
    "tools": '(func (export "tools") (result i64) i64.const 0)',
    "configure": '(func (export "configure") (param i64) (result i64) i64.const 0x4000000002)',
    "execute": '(func (export "execute") (param i64) (result i64) i64.const 0)',
    "healthy": '(func (export "healthy") (result i32) i32.const 1)',
    "memory": '(memory (export "memory") 1)',
    "malloc": '(func (export "malloc") (param i32) (result i32) i32.const 4096)',
    "data": '(data (i32.const 8) "p1") (data (i32.const 16) "{\\"abi_version\\":1}")'
    ' (data (i32.const 64) "no")',
}


def text(**changed: str) -> str:
    """A whole plugin, with parts of it replaced; all of them refuse credentials."""
    return f"(module {' '.join({**PARTS, **changed}.values())})"


MEMORY = "(memory 1)"
FAULTY: list[tuple[dict[str, str], list[str]]] = [
    ({"malloc": ""}, ["malloc (i32) -> (i32) is missing (guest_malloc would do)"]),
    ({"memory": MEMORY}, ["memory is missing"]),
    (
        {"memory": f'{MEMORY} (global (export "memory") i32 i32.const 1)'},
        ["memory is of the wrong type, global i32 instead of a memory"],
    ),
    (
        {"execute": '(func (export "execute") (param i32 i32) (result i64) i64.const 0)'},
        ["execute is of the wrong type, (i32, i32) -> (i64) instead of (i64) -> (i64)"],
    ),
    (
        {"more": '(func (export "compact_specs") (result i32) i32.const 0)'},
        ["compact_specs is of the wrong type, () -> (i32) instead of () -> (i64)"],
    ),
    (
        {"more": '(func (export "free") (param i32 i32))'},
        ["free is of the wrong type, (i32, i32) -> () instead of (i32) -> ()"],
    ),
    (
        {
            "healthy": '(func (export "healthy"))',
            "tools": "",
            "memory": MEMORY,
            "malloc": '(func (export "guest_malloc") (param i64) (result i32) i32.const 1)',
        },
        [
            "tools () -> (i64) is missing",
            "healthy is of the wrong type, () -> () instead of () -> (i32)",
            "memory is missing",
            "guest_malloc is of the wrong type, (i64) -> (i32) instead of (i32) -> (i32)",
        ],
    ),
    (
        {"data": PARTS["data"].replace("1}", "3}")},
        ["ABI version 3 of the plugin is not supported: this host has 1"],
    ),
    (
        {"data": PARTS["data"].replace("abi_version", "abi_versiom")},
        ['metadata does not say its ABI version: it needs "abi_version": 1'],
    ),
]


@pytest.mark.parametrize(("changed", "wrong"), FAULTY)
async def test_all_calls_agree(tmp_path: Path, changed: dict[str, str], wrong: list[str]) -> None:
    """A module that one of them refuses, all refuse, with everything that is wrong with it."""
    file = tmp_path / "faulty.wat"
    file.write_text(text(**changed))
    told = f"{'; '.join(wrong)} (module 'faulty'"
    with pytest.raises(AbiError) as opened:
        async with open_plugin(file):
            pass
    assert str(opened.value).startswith(told)
    async with open_loader() as loader:
        with pytest.raises(AbiError) as loaded:
            await loader.load(file)
        assert str(loaded.value).startswith(told)
        plugin = await loader.load(text(), "good")
        for reload in (plugin.reload(file), loader.load(file, "good")):
            with pytest.raises(ReloadFailed, match="'good' goes on") as reloaded:
                await reload
            assert isinstance(reloaded.value.__cause__, AbiError)
            assert "; ".join(wrong) in str(reloaded.value)
        assert (await plugin.execute("any")).data == ""
    assert (await inspect_plugin(file)).problems == tuple(wrong)


async def test_the_whole_plugin_is_accepted_by_all(tmp_path: Path) -> None:
    """What the faulty ones are made of is right."""
    file = tmp_path / "good.wat"
    file.write_text(text())
    async with open_plugin(file) as plugin, open_loader() as loader:
        assert await loader.load(file)
        assert await plugin.reload(file) == 1
        assert (await inspect_plugin(file)).problems == ()


@pytest.mark.parametrize(
    ("changed", "given", "named"),
    [
        ({}, None, "p1"),
        ({}, "mine", "mine"),
        ({"name": '(func (export "name") (result i64) i64.const 0)'}, None, "file"),
        ({"name": '(func (export "name") (result i64) unreachable)'}, "mine", "mine"),
    ],
)
async def test_who_refused_its_credentials(
    tmp_path: Path, changed: dict[str, str], given: str | None, named: str
) -> None:
    """The name that the plugin was given, else its own, else its file's."""
    file = tmp_path / "file.wat"
    file.write_text(text(**changed))
    with pytest.raises(ConfigureError) as caught:
        async with open_plugin(file, name=given, credentials={"k": "v"}):
            pass
    assert str(caught.value) == f"plugin {named!r} refused its credentials: no"
    assert caught.value.plugin == named


async def test_who_refused_its_credentials_and_cannot_say_its_name() -> None:
    """That is no reason to say something else, or to say nothing."""
    traps = text(name='(func (export "name") (result i64) unreachable)')
    with pytest.raises(ConfigureError, match=r"plugin '\w+' refused its credentials: no"):
        async with open_plugin(traps, credentials={"k": "v"}):
            pass


async def test_a_guest_that_repeats_its_credentials() -> None:
    """Its reason goes to logs, so it shows none of them but those that are called plain text."""
    described = '{"abi_version":1,"plain_text_keys":["url"]}'
    quoted = described.replace('"', '\\"')
    echo = text(
        metadata='(func (export "metadata") (result i64)'
        f" i64.const {600 << 32 | len(described):#x})",
        data=f'(data (i32.const 8) "p1") (data (i32.const 600) "{quoted}")',
        configure='(func (export "configure") (param i64) (result i64) local.get 0)',
    )
    with pytest.raises(ConfigureError) as caught:
        async with open_plugin(echo, credentials={"token": "hunter2", "url": "http://a"}):
            pass
    assert caught.value.text == '{"token":"***","url":"http://a"}'
    assert "hunter2" not in f"{caught.value} {caught.value!r}"


async def test_who_refuses_later(tmp_path: Path) -> None:
    """By `configure`, and by a reload with the credentials in service."""
    file = tmp_path / "file.wat"
    file.write_text(text())
    async with open_plugin(file) as plugin:
        with pytest.raises(ConfigureError, match="plugin 'p1' refused its credentials: no"):
            await plugin.configure({"k": "v"})
    async with open_loader() as loader:
        await loader.load(text(), "mine")
        with pytest.raises(ReloadFailed, match="plugin 'mine' refused its credentials: no"):
            await loader.load(file, "mine", {"k": "v"})


@pytest.mark.parametrize("given", [None, "mine"])
async def test_a_file_that_cannot_be_loaded_is_named(tmp_path: Path, given: str | None) -> None:
    """The file, and the plugin if it was given a name."""
    plugin = "" if given is None else "^plugin 'mine': "
    contents: dict[str, tuple[type[Exception], str]] = {
        "no wasm": (CompileError, f"{plugin}.*file.wat"),
        '(module (import "a" "b" (func)))': (LinkError, f"{plugin}module 'file' imports"),
        "(module (memory 9999))": (GuestMemoryError, f"{plugin}module 'file': its memory"),
        text(memory=MEMORY): (AbiError, r"file '.*file.wat'\)$"),
    }
    file = tmp_path / "file.wat"
    for content, (error, says) in contents.items():
        file.write_text(content)
        with pytest.raises(error, match=says):
            async with open_plugin(file, name=given):
                pass
    (tmp_path / "file.wasm").write_bytes(b"no wasm")
    with pytest.raises(CompileError, match=rf"{plugin}file '.*file.wasm' is no valid WebAssembly"):
        async with open_plugin(tmp_path / "file.wasm", name=given):
            pass


async def test_the_pool_goes_by_the_plugins_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    """Its errors and its log name the plugin, as it is called now."""
    file = tmp_path / "file.wat"
    file.write_text(text())
    async with open_plugin(file, size=1, max_wait=0.0, leak_after=0.01, grace=0) as plugin:
        for name, then in (("p1", "p2"), ("p2", "p1")):

            async def execute(name: str = name) -> None:
                with pytest.raises(PoolTimeout, match=f"^pool {name!r}: no instance"):
                    await plugin.execute("any")

            async with plugin.pool.lease() as lease:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(execute)
                await until(lambda: f"pool {name!r}: instance" in caplog.text)  # noqa: B023 - awaited here
                await plugin.reload(text(data=PARTS["data"].replace("p1", then)))
                with pytest.raises(LeaseRevoked, match=f"of pool {name!r} was revoked"):
                    await lease.call("healthy")
            assert (plugin.name, plugin.pool.name) == (then, then)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


async def test_a_start_that_fails_names_the_plugin(wat: Callable[..., str]) -> None:
    """The pool's words are the plugin's."""
    for opening, name in (
        (open_plugin(wat(start="(start $trap)"), name="mine"), "mine"),
        (open_plugin(text(tools='(func (export "tools") (result i64) unreachable)')), r"\w+"),
    ):
        with pytest.raises(PoolUnavailable, match=f"^pool '{name}' cannot be opened, as"):
            async with opening:
                pass
    async with open_loader() as loader:
        with pytest.raises(AbiError, match=r"^name answers text that is not UTF-8: .* \(module '"):
            await loader.load(text(data=PARTS["data"].replace("p1", "\\ff1")))
