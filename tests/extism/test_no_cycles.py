"""What an Extism plugin has replaced is gone, without the garbage collector's help."""

from __future__ import annotations

import gc

import pytest
from tests.extism.script_guest import guest
from tests.live_objects import live_objects
from trio.testing import wait_all_tasks_blocked

from wasmpool import ExtismError, Module, open_extism
from wasmpool._extism.environment import Environment
from wasmpool._extism.revision import Revision
from wasmpool_host._extism.kernel import Kernel
from wasmpool_host.lowlevel import DrivenInstance

WATCHED = (DrivenInstance, Kernel, Module, Revision, Environment)


async def test_ten_reloads_keep_nothing() -> None:
    """What is in service is left, and the first revision, which the open block's frame holds."""
    gc.collect()
    gc.disable()
    try:
        before = live_objects(WATCHED)
        async with open_extism(guest(), size=1) as plugin:
            for number in range(10):
                await plugin.call("echo", b"x")
                with pytest.raises(ExtismError):
                    await plugin.call("fail", b"x")
                await plugin.reload(guest(start=f"(global i32 (i32.const {number}))"))
            await wait_all_tasks_blocked()
            kept = live_objects(WATCHED) - before
            assert kept[DrivenInstance] == kept[Kernel] == 1
            assert kept[Module] == kept[Revision] == kept[Environment] == 2
    finally:
        gc.enable()
