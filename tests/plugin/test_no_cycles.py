"""What a plugin has replaced is gone, without the garbage collector's help."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
from tests.live_objects import live_objects
from trio.testing import wait_all_tasks_blocked

from wasmpool import Module, open_plugin
from wasmpool._plugin.revision import PluginRevision
from wasmpool._pool.generation import Generation
from wasmpool_host._capi import text_to_binary
from wasmpool_host.lowlevel import DrivenInstance

if TYPE_CHECKING:
    from collections.abc import Callable

WATCHED = (DrivenInstance, Module, PluginRevision, Generation)


def version(binary: bytes, number: int) -> bytes:
    """The same, with a custom section that makes it another module."""
    section = bytes([1]) + b"v" + bytes([number])
    return binary + bytes([0, len(section)]) + section


@pytest.mark.parametrize("change", ["configure", "reload"])
async def test_twenty_changes_keep_nothing(change: str, wat: Callable[..., str]) -> None:
    """What is in service is left, and the first generation, which the open block's frame holds."""
    binary = text_to_binary(wat())
    gc.collect()
    gc.disable()
    try:
        before = live_objects(WATCHED)
        async with open_plugin(
            binary, size=1, credentials={"base_url": "http://a.example", "api_key": "first"}
        ) as plugin:
            for number in range(20):
                if change == "configure":
                    await plugin.configure({"base_url": "http://a.example", "api_key": str(number)})
                else:
                    await plugin.reload(version(binary, number))
            await wait_all_tasks_blocked()
            kept = live_objects(WATCHED) - before
            modules = 1 if change == "configure" else 2
            assert kept == {DrivenInstance: 1, Module: modules, PluginRevision: 2, Generation: 1}
    finally:
        gc.enable()
