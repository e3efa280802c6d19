"""Calls, cancels, errors and reloads at once: each call has its own answer, and nothing is lost."""

from __future__ import annotations

import random

import pytest
import trio
from tests.extism.script_guest import Script, guest

from wasmpool import Caller, ExtismError, GuestMemoryError, host_function, open_extism

USER = "extism:host/user"


@host_function(USER, "user", params=("i64",), results=("i64",))
async def user(caller: Caller, offset: int) -> int:
    """Answer after a while with what was asked, twice."""
    for _ in range(random.randrange(3)):
        await trio.lowlevel.checkpoint()
    return await caller.reply(caller.read(offset) * 2)


def version(number: int) -> str:
    """The guest as one of many modules."""
    return guest(user=True, start=f"(global i32 (i32.const {number}))")


@pytest.mark.parametrize("pristine", [False, True])
async def test_everything_at_once(pristine: bool) -> None:
    """Eight tasks mix calls of all kinds, while the module is replaced five times."""
    done = 0

    async def one_call(text: bytes) -> None:
        kind = random.randrange(6)
        if kind == 0:
            with pytest.raises(ExtismError) as raised:
                await plugin.call("fail", text)
            assert raised.value.text.encode() == text
        elif kind == 1:
            with trio.move_on_after(random.random() / 500):
                await plugin.call("spin")
        elif kind == 2:
            written = Script()
            written.add("user", 12345)
            with pytest.raises(GuestMemoryError, match="was given the offset"):
                await plugin.call("run", written.end())
        elif kind == 3:
            assert await plugin.call("ask", text) == text * 2
        else:
            assert await plugin.call("echo", text * 500) == text * 500

    async def caller(task: int) -> None:
        nonlocal done
        for number in range(20):
            await one_call(b"task %d call %d" % (task, number))
            done += 1

    async with open_extism(
        version(0), functions=[user], size=4, min_size=2, pristine=pristine
    ) as plugin:
        async with trio.open_nursery() as nursery:
            for task in range(8):
                nursery.start_soon(caller, task)
            for number in range(1, 6):
                assert await plugin.reload(version(number)) == number + 1
        statistics = plugin.statistics()
    assert done == 160
    assert statistics.leased == 0
    final = plugin.statistics()
    assert final.started == final.closed
