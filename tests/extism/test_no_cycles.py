"""What an Extism plugin has replaced is gone, without the garbage collector's help."""

from __future__ import annotations

import gc
from collections import Counter

import pytest
from tests.extism.script_guest import guest
from trio.testing import wait_all_tasks_blocked

from wasmpool import ExtismError, Module, open_extism
from wasmpool._extism.environment import Environment
from wasmpool._extism.revision import Revision
from wasmpool_host._extism.kernel import Kernel
from wasmpool_host.lowlevel import DrivenInstance

WATCHED = (DrivenInstance, Kernel, Module, Revision, Environment)


def alive() -> Counter[type]:
    """How many there are of each watched class."""
    return Counter(type(each) for each in gc.get_objects() if type(each) in WATCHED)


async def test_ten_reloads_keep_nothing() -> None:
    """What is in service is left, and the first revision, which the open block's frame holds."""
    gc.collect()
    gc.disable()
    try:
        before = alive()
        async with open_extism(guest(), size=1) as plugin:
            for number in range(10):
                await plugin.call("echo", b"x")
                with pytest.raises(ExtismError):
                    await plugin.call("fail", b"x")
                await plugin.reload(guest(start=f"(global i32 (i32.const {number}))"))
            await wait_all_tasks_blocked()
            kept = alive() - before
            assert kept[DrivenInstance] == kept[Kernel] == 1
            assert kept[Module] == kept[Revision] == kept[Environment] == 2
    finally:
        gc.enable()
