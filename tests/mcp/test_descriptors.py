"""Each kind of descriptor that a process may have as its standard input or output."""

from __future__ import annotations

import fcntl
import os
import pty
import socket
import tempfile
import tty
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from wasmpool._mcp.descriptors import (
    DescriptorReader,
    DescriptorWriter,
    claim_standard_streams,
    open_writer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


def _pipe() -> tuple[int, int]:
    return os.pipe()


def _sockets() -> tuple[int, int]:
    one, other = socket.socketpair()
    return one.detach(), other.detach()


def _terminal() -> tuple[int, int]:
    main, other = pty.openpty()
    tty.setraw(other)
    return other, main


@pytest.fixture(params=[_pipe, _sockets, _terminal])
def ends(request: pytest.FixtureRequest) -> Generator[tuple[int, int]]:
    """An end to read from, and one to write to."""
    make: Callable[[], tuple[int, int]] = request.param
    both = make()
    yield both
    for descriptor in both:
        os.close(descriptor)


async def test_reading_waits_without_a_flag(ends: tuple[int, int], nursery: trio.Nursery) -> None:
    """The open file stays as it was, a cancel loses nothing, and data comes when it is there."""
    reading, writing = ends
    reader = DescriptorReader(reading)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as inner:
            inner.start_soon(reader.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert not fcntl.fcntl(reading, fcntl.F_GETFL) & os.O_NONBLOCK
    os.write(writing, b"one")
    assert await reader.receive_some() == b"one"


async def test_writing_waits_for_a_reader(ends: tuple[int, int]) -> None:
    """A megabyte is written as fast as it is read, while other tasks run."""
    reading, writing = reversed(ends) if os.isatty(ends[0]) else ends
    data = b"0123456789abcdef" * (1 << 16)
    received = bytearray()
    with open_writer(writing) as writer:
        assert not fcntl.fcntl(writing, fcntl.F_GETFL) & os.O_NONBLOCK
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.send_all, data)
            await trio.testing.wait_all_tasks_blocked()
            while len(received) < len(data):
                received += await DescriptorReader(reading).receive_some()
    assert received == data


@pytest.mark.parametrize("make", [_pipe, _sockets])
async def test_a_reader_that_is_gone_is_noticed(
    make: Callable[[], tuple[int, int]], nursery: trio.Nursery
) -> None:
    """Before anything is written, and when it is."""
    reading, writing = make()
    writer = DescriptorWriter(writing)
    broken = trio.Event()

    @nursery.start_soon
    async def wait() -> None:
        await writer.wait_until_broken()
        broken.set()

    await trio.testing.wait_all_tasks_blocked()
    assert not broken.is_set()
    os.close(reading)
    await broken.wait()
    with pytest.raises(trio.BrokenResourceError):
        await writer.send_all(b"x")
    os.close(writing)


async def test_files(nursery: trio.Nursery) -> None:
    """A file cannot be waited for: it is read to its end, and written at once."""
    with tempfile.TemporaryFile() as file:
        await DescriptorWriter(file.fileno()).send_all(b"x" * 200_000)
        file.seek(0)
        reader = DescriptorReader(file.fileno())
        size = 0
        while data := await reader.receive_some():
            size += len(data)
        assert size == 200_000
        nursery.start_soon(DescriptorWriter(file.fileno()).wait_until_broken)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_a_full_disk() -> None:
    """It is as if the reader were gone."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(trio.BrokenResourceError, match="No space left"):
        await DescriptorWriter(descriptor).send_all(b"x")
    os.close(descriptor)


async def test_the_standard_streams_are_claimed(capfd: pytest.CaptureFixture[str]) -> None:
    """What is printed goes to standard error meanwhile, and to standard output afterwards."""
    print("before", flush=True)
    with claim_standard_streams() as (_, stdout):
        os.write(1, b"meanwhile\n")  # as a library of another language would
        assert os.read(0, 10) == b""
        await stdout.send_all(b"a message\n")
    print("afterwards", flush=True)
    out, err = capfd.readouterr()
    assert out == "before\na message\nafterwards\n"
    assert err == "meanwhile\n"
