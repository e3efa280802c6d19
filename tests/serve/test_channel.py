from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from wasmpool._serve.channel import Channel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture
async def ends() -> AsyncGenerator[tuple[Channel, Channel]]:
    one, other = map(Channel, socket.socketpair())
    yield one, other
    await one.aclose()
    await other.aclose()


async def test_messages_arrive_as_they_are(ends: tuple[Channel, Channel]) -> None:
    """Also large ones, and many at once from several tasks."""
    one, other = ends
    large = {"do": "configure", "content": "ü" * 300_000}
    got: list[dict[str, Any]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.send, large)
        for number in range(50):
            nursery.start_soon(one.send, {"number": number})
        for _ in range(51):
            message = await other.receive()
            assert message is not None
            got.append(message)
    assert large in got
    assert sorted(each["number"] for each in got if each != large) == list(range(50))


async def test_the_end_of_one_side_is_told_to_the_other(ends: tuple[Channel, Channel]) -> None:
    """In the middle of a message, too; then nothing can be sent."""
    one, other = ends
    await one.send({"last": "words"})
    await one._frames._stream.send_all(b"\0\0\0\x09{")
    await one.aclose()
    assert await other.receive() == {"last": "words"}
    assert await other.receive() is None
    assert not await other.send({"any": "body"})


async def test_a_cancelled_receive_loses_nothing(ends: tuple[Channel, Channel]) -> None:
    """Half a message that has arrived is kept for the next one."""
    one, other = ends
    await one._frames._stream.send_all(b'\0\0\0\x0a{"a"')
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.receive)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    await one._frames._stream.send_all(b': "b"}')
    assert await other.receive() == {"a": "b"}
