"""A run whose standard streams are the caller's: the program waits for them, and they for it."""

from __future__ import annotations

import contextlib
import gc
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from tests.host.wasi.conftest import OK, SCRATCH, FakeGuest

from wasmpool_host import GuestTrap, Module, Preopen, Wasi
from wasmpool_host._instance.caller import PROCESS
from wasmpool_host._wasi import preview1
from wasmpool_host._wasi.errno import Errno
from wasmpool_host._wasi.layout import (
    EVENT,
    FDSTAT,
    SUBSCRIPTION,
    SUBSCRIPTION_CLOCK,
    SUBSCRIPTION_FD,
    FileType,
)
from wasmpool_host._wasi.offload import run_offloaded
from wasmpool_host._wasi.process import open_process
from wasmpool_host._wasi.rights import Right
from wasmpool_host._wasi.streams import IterableSource, StreamInput, StreamOutput, StreamSource
from wasmpool_host._wasi.tree import FolderNode, Tree

from .test_program import PROGRAM, once

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from trio.testing import MockClock

MILLISECOND = 1_000_000


@pytest.fixture
async def module() -> Module:
    return await Module.compile(PROGRAM)


async def pieces(*data: bytes) -> AsyncGenerator[bytes]:
    for each in data:
        await trio.sleep(0.001)
        yield each


# --- input ---


async def test_an_async_iterable_is_the_input(module: Module) -> None:
    """Empty pieces are no end."""
    done = await once(module, "cat", stdin=pieces(b"one ", b"", b"two", b""))
    assert done.stdout == b"one two"


async def test_a_stream_is_the_input(module: Module) -> None:
    """Until it ends; it stays open."""
    sender, receiver = trio.testing.memory_stream_one_way_pair()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def feed() -> None:
            await sender.send_all(b"one ")
            await trio.sleep(0.01)
            await sender.send_all(b"two")
            await sender.aclose()

        assert (await once(module, "cat", stdin=receiver)).stdout == b"one two"
    assert await receiver.receive_some() == b""  # not closed


async def test_a_read_takes_no_more_than_the_program_asks_for() -> None:
    """The rest of the stream is there for the next reader; a read of nothing waits for nothing."""
    sender, receiver = trio.testing.memory_stream_one_way_pair()
    guest = FakeGuest(Wasi())
    process = guest.state[PROCESS] = open_process(Wasi())
    process.descriptors.put(0, StreamInput(StreamSource(receiver), None))
    assert guest.call("fd_read", 0, *guest.vectors((guest.put(b""), 0)), SCRATCH) == OK
    await sender.send_all(b"onetwo")
    data = guest.put(bytes(10))
    assert await guest.acall("fd_read", 0, *guest.vectors((data, 2), (data + 2, 1)), SCRATCH) == OK
    assert guest.memory.read(data, guest.u32()) == b"one"
    assert await receiver.receive_some() == b"two"
    guest.close()


async def test_a_stream_that_is_a_terminal_is_one_to_the_program() -> None:
    """By its method ``isatty``; C libraries then write each line when it ends."""

    class Terminal:
        def isatty(self) -> bool:
            return True

    guest = FakeGuest(Wasi())
    process = guest.state[PROCESS] = open_process(Wasi())
    plain: Any = object()
    terminal: Any = Terminal()
    for stream, filetype in (plain, FileType.UNKNOWN), (terminal, FileType.CHARACTER_DEVICE):
        process.descriptors.put(0, StreamInput(StreamSource(stream), None))
        process.descriptors.put(1, StreamOutput(stream))
        for fd in 0, 1:
            assert guest.call("fd_fdstat_get", fd, SCRATCH) == OK
            found, _, rights, _ = FDSTAT.unpack(guest.memory.read(SCRATCH, FDSTAT.size))
            assert (found, rights & (Right.FD_SEEK | Right.FD_TELL)) == (filetype, 0)
    guest.close()


async def test_what_the_program_does_not_read_is_not_taken(module: Module) -> None:
    """Not even the first piece."""
    taken: list[int] = []

    async def endless() -> AsyncGenerator[bytes]:
        while True:
            taken.append(1)
            yield b"x"

    await once(module, "env", stdin=endless())
    assert taken == []


async def test_an_error_of_the_iterable_comes_out_as_itself(module: Module) -> None:
    """In no group, and the instance is poisoned."""

    async def broken() -> AsyncGenerator[bytes]:
        yield b"x"
        raise KeyError("boom")

    with pytest.raises(KeyError, match="boom"):
        await once(module, "cat", stdin=broken())


async def test_pieces_must_be_bytes(module: Module) -> None:
    """A str is refused with the word for it."""

    async def texts() -> AsyncGenerator[Any]:
        yield "text"

    async with aclosing(texts()) as stdin:
        with pytest.raises(TypeError, match="stdin must give bytes, not 'text'"):
            await once(module, "cat", stdin=stdin)


async def test_a_broken_stream_is_the_programs_error(module: Module) -> None:
    """``EIO``: it can tell that from the end."""
    _, receiver = trio.testing.memory_stream_one_way_pair()
    await receiver.aclose()
    done = await once(module, "cat", stdin=receiver)
    assert (done.returncode, done.stderr) == (1, b"read: errno 29\n")


# --- output ---


async def test_a_slow_reader_holds_up_the_program_alone(module: Module) -> None:
    """Ten megabytes pass through in pieces, and no more than one is held at a time."""
    size = 10 << 20
    feeder, stdin = trio.testing.lockstep_stream_one_way_pair()
    stdout, reader = trio.testing.lockstep_stream_one_way_pair()
    sent = received = ahead = 0
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def feed() -> None:
            nonlocal sent
            while sent < size:
                await feeder.send_all(bytes(1 << 16))
                sent += 1 << 16
            await feeder.aclose()

        @nursery.start_soon
        async def read() -> None:
            nonlocal received, ahead
            while data := await reader.receive_some(10_000):
                received += len(data)
                ahead = max(ahead, sent - received)

        assert (await once(module, "cat", stdin=stdin, stdout=stdout)).returncode == 0
        await stdout.aclose()
    assert received == size
    assert ahead <= 3 * (1 << 16)


async def test_a_cancel_in_the_middle_leaves_the_streams_open(module: Module) -> None:
    """Whether the program waits for input, or for its reader."""
    feeder, stdin = trio.testing.memory_stream_one_way_pair()
    stdout, reader = trio.testing.lockstep_stream_one_way_pair()
    for data in (b"", b"x" * 100_000):
        if data:
            await feeder.send_all(data)
        with trio.move_on_after(0.05) as scope:
            await once(module, "cat", stdin=stdin, stdout=stdout)
        assert scope.cancelled_caught
    await feeder.send_all(b"on")
    assert (await stdin.receive_some()).endswith(b"on")
    assert await reader.receive_some(1) == b"x"  # what was being sent


async def test_a_cancelled_iterable_ends_with_the_run(module: Module) -> None:
    """Its generator is not left in the middle of a wait."""
    ended = trio.Event()

    async def waits() -> AsyncGenerator[bytes]:
        try:
            yield b"x"
            await trio.sleep_forever()
        finally:
            ended.set()

    with trio.move_on_after(0.05) as scope:
        await once(module, "cat", stdin=waits())
    assert scope.cancelled_caught
    assert ended.is_set()


async def test_a_reader_that_has_gone_is_a_broken_pipe() -> None:
    """``EPIPE``, as for any program."""
    stream, reader = trio.testing.memory_stream_one_way_pair()
    await reader.aclose()
    guest = FakeGuest(Wasi())
    process = guest.state[PROCESS] = open_process(Wasi())
    process.descriptors.put(1, StreamOutput(stream))
    vectors = guest.vectors((guest.put(b"data"), 4))
    assert await guest.acall("fd_write", 1, *vectors, SCRATCH) == Errno.PIPE
    guest.close()


POLLS_AND_SAYS = """(module
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    ;; input, or a millisecond
    (i32.store8 (i32.const 8) (i32.const 1))
    (i32.store (i32.const 64) (i32.const 1))
    (i64.store (i32.const 72) (i64.const 1000000))
    (drop (call $poll (i32.const 0) (i32.const 200) (i32.const 2) (i32.const 300)))
    ;; how many have happened
    (i32.store (i32.const 400) (i32.const 300)) (i32.store (i32.const 404) (i32.const 4))
    (drop (call $write (i32.const 1) (i32.const 400) (i32.const 1) (i32.const 408)))))"""


async def test_a_cancel_when_the_program_is_done_does_not_lose_its_result() -> None:
    """Though its input is still waited for."""
    module = await Module.compile(POLLS_AND_SAYS)
    said: list[bytes] = []

    async def never() -> AsyncGenerator[bytes]:
        await trio.sleep_forever()
        yield b""

    def take(data: bytes) -> None:
        said.append(data)
        scope.cancel()  # the program waits for nothing after this

    instance = await module.instantiate()
    with trio.CancelScope() as scope:
        assert (await instance.run(stdin=never(), stdout=take)).returncode == 0
    assert not scope.cancelled_caught
    await instance.aclose()
    assert said == [b"\1\0\0\0"]


# --- poll_oneoff ---


def poll(guest: FakeGuest, milliseconds: int) -> Any:
    """Poll descriptor 0 with a timeout; returns what is to be awaited."""
    fd = SUBSCRIPTION.pack(1, 1, SUBSCRIPTION_FD.pack(0))
    clock = SUBSCRIPTION.pack(2, 0, SUBSCRIPTION_CLOCK.pack(1, milliseconds * MILLISECOND, 0, 0))
    events = guest.put(bytes(2 * EVENT.size))
    return events, guest.acall("poll_oneoff", guest.put(fd + clock), events, 2, SCRATCH)


def happened(guest: FakeGuest, events: int) -> list[tuple[int, int]]:
    """The events: what the subscription was called, and how many bytes there are."""
    found = []
    for number in range(guest.u32()):
        record = guest.memory.read(events + number * EVENT.size, EVENT.size)
        userdata, _, _, count, _ = EVENT.unpack(record)
        found.append((userdata, count))
    return found


@pytest.mark.parametrize("kind", ["stream", "iterable"])
async def test_a_poll_knows_whether_there_is_input(autojump_clock: MockClock, kind: str) -> None:
    """The timer comes first, and then the input: nothing of it is lost by the wait that ended."""
    sender, receiver = trio.testing.memory_stream_one_way_pair()

    async def later() -> AsyncGenerator[bytes]:
        yield bytes(await receiver.receive_some())

    guest = FakeGuest(Wasi())
    async with aclosing(later()) as generator, trio.open_nursery() as nursery:
        process = guest.state[PROCESS] = open_process(Wasi())
        source = StreamSource(receiver) if kind == "stream" else IterableSource(generator)
        process.descriptors.put(0, StreamInput(source, nursery if source.needs_task else None))
        events, polled = poll(guest, 10)
        assert await polled == OK
        assert happened(guest, events) == [(2, 0)]
        await sender.send_all(b"data")
        events, polled = poll(guest, 10)
        assert await polled == OK
        assert happened(guest, events) == [(1, 4)]
        data = guest.put(bytes(10))
        assert await guest.acall("fd_read", 0, *guest.vectors((data, 10)), SCRATCH) == OK
        assert guest.memory.read(data, guest.u32()) == b"data"
        nursery.cancel_scope.cancel()
    guest.close()


# --- directories that may block ---


async def test_a_runs_directory_that_may_block_is_used_in_a_thread(
    module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the module's own directories never block."""
    (tmp_path / "file").touch()
    preopen = Preopen(tmp_path)
    object.__setattr__(preopen, "may_wait", True)
    threads: list[int] = []

    async def counted(*args: Any) -> None:
        threads.append(1)
        await run_offloaded(*args)

    monkeypatch.setattr(preview1, "run_offloaded", counted)
    assert (await once(module, "list", "/disk", preopens={"/disk": preopen})).stdout == b"file\n"
    assert threads


# --- what is left ---


@pytest.mark.parametrize("words", ["env", "exit 3", "panic x", "spin", "cat"])
async def test_nothing_of_a_run_waits_for_a_garbage_collection(module: Module, words: str) -> None:
    """However it ends: its files may be large."""

    async def broken() -> AsyncGenerator[bytes]:
        yield b"x"
        raise KeyError("boom")

    gc.collect()
    gc.disable()
    try:
        with (
            trio.move_on_after(0.05 if words == "spin" else 60),
            contextlib.suppress(GuestTrap, KeyError),
        ):
            await once(module, *words.split(), stdin=broken(), files={"/a/b": b"x"})
        await trio.testing.wait_all_tasks_blocked()
        assert not [each for each in gc.get_objects() if isinstance(each, Tree | FolderNode)]
    finally:
        gc.enable()
