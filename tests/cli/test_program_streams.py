from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from wasmpool._cli.program_streams import ProgramInput

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pipe() -> Iterator[int]:
    """Standard input is a pipe, into which this descriptor leads."""
    reading, writing = os.pipe()
    kept = os.dup(0)
    os.dup2(reading, 0)
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)
        os.dup2(kept, 0)
        os.close(kept)


async def test_a_wait_that_is_given_up_loses_nothing(pipe: int) -> None:
    """As that of a poll with a timeout: the next read gets the bytes, no more than it asks for."""
    stream = ProgramInput()
    with trio.move_on_after(0.01):
        await stream.receive_some(6)
    os.write(pipe, b"onetwothree")
    assert await stream.receive_some(3) == b"one"
    assert await stream.receive_some(3) == b"two"
    assert os.read(0, 100) == b"three"


async def test_a_cancel_before_the_wait_takes_nothing(pipe: int) -> None:
    """The bytes are there for another reader."""
    stream = ProgramInput()
    os.write(pipe, b"one")
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.receive_some(3)
    assert scope.cancelled_caught
    assert os.read(0, 100) == b"one"


async def test_each_read_is_a_checkpoint(pipe: int) -> None:
    """Whether it waits for a thread, or has bytes that a given-up read has left."""
    stream = ProgramInput()
    with trio.move_on_after(0.01):
        await stream.receive_some(6)
    os.write(pipe, b"onetwo")
    for piece in b"one", b"two":
        with trio.testing.assert_checkpoints():
            assert await stream.receive_some(3) == piece
