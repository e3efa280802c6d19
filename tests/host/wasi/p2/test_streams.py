"""The standard streams of a component, and what is common to all its streams."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from tests.host.wasi.preview2 import STREAMS, TYPES

from wasmpool_host import GuestTrap, Wasi
from wasmpool_host._instance.caller import PROCESS
from wasmpool_host._wasi.process import open_process
from wasmpool_host._wasi.streams import StreamInput, StreamOutput, StreamSource
from wasmpool_host._wasi_p2.streams import PERMIT
from wasmpool_host._wit_values import Err, Ok, Variant

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.host.wasi.preview2 import FakeComponent

CLOSED = Err(Variant("closed"))


def stdin(component: FakeComponent) -> Any:
    return component.call("wasi:cli/stdin", "get-stdin")


def stdout(component: FakeComponent) -> Any:
    return component.call("wasi:cli/stdout", "get-stdout")


def of_input(component: FakeComponent, name: str, *args: Any) -> Any:
    return component.call(STREAMS, f"[method]input-stream.{name}", *args)


def of_output(component: FakeComponent, name: str, *args: Any) -> Any:
    return component.call(STREAMS, f"[method]output-stream.{name}", *args)


async def later(component: FakeComponent, name: str, *args: Any) -> Any:
    return await component.acall(STREAMS, f"[method]{name}", *args)


@pytest.fixture
def collected(open_component: Callable[..., FakeComponent]) -> tuple[FakeComponent, list[bytes]]:
    """A component, and what it has written to standard output."""
    written: list[bytes] = []
    return open_component(stdin=b"0123456789", stdout=written.append), written


def with_streams(
    component: FakeComponent,
    source: trio.abc.ReceiveStream | None = None,
    target: trio.abc.SendStream | None = None,
) -> FakeComponent:
    """Give it streams of trio's, as a run does."""
    process = component.state[PROCESS] = open_process(Wasi())
    if source is not None:
        process.descriptors.put(0, StreamInput(StreamSource(source), None))
    if target is not None:
        process.descriptors.put(1, StreamOutput(target))
    return component


# --- input ---


def test_input_is_read_and_skipped_to_its_end(
    collected: tuple[FakeComponent, list[bytes]],
) -> None:
    """All handles are of one stream; at the end it is closed, for each read."""
    component, _ = collected
    one, two = stdin(component), stdin(component)
    assert of_input(component, "read", one, 3) == Ok(b"012")
    assert of_input(component, "blocking-read", two, 2) == Ok(b"34")
    assert of_input(component, "skip", one, 2) == Ok(2)
    assert of_input(component, "read", one, 0) == Ok(b"")
    assert of_input(component, "blocking-skip", one, 2**64 - 1) == Ok(3)
    for name in ("read", "blocking-read", "skip", "blocking-skip"):
        assert of_input(component, name, two, 1) == CLOSED


def test_a_read_is_bounded(open_component: Callable[..., FakeComponent]) -> None:
    """Whatever length a component asks for."""
    component = open_component(stdin=bytes(PERMIT + 1))
    stream = stdin(component)
    assert len(of_input(component, "read", stream, 2**64 - 1).value) == PERMIT
    assert len(of_input(component, "read", stream, 2**64 - 1).value) == 1


async def test_input_that_has_not_arrived_is_waited_for_or_empty(
    open_component: Callable[..., FakeComponent],
) -> None:
    """`read` never waits; `blocking-read` waits in its task."""
    sender, receiver = trio.testing.memory_stream_one_way_pair()
    component = with_streams(open_component(), receiver)
    stream = stdin(component)
    assert of_input(component, "read", stream, 10) == Ok(b"")
    async with trio.open_nursery() as nursery:
        found: list[object] = []

        async def read() -> None:
            found.append(await later(component, "input-stream.blocking-read", stream, 10))

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        assert not found
        await sender.send_all(b"hello")
    assert found == [Ok(b"hello")]
    await sender.aclose()
    assert await later(component, "input-stream.blocking-read", stream, 10) == CLOSED


async def test_a_read_that_is_cancelled_loses_nothing(
    open_component: Callable[..., FakeComponent],
) -> None:
    """What comes later is read by the next one."""
    sender, receiver = trio.testing.memory_stream_one_way_pair()
    component = with_streams(open_component(), receiver)
    stream = stdin(component)
    with trio.CancelScope() as scope:
        scope.cancel()
        await later(component, "input-stream.blocking-read", stream, 10)
    assert scope.cancelled_caught
    await sender.send_all(b"x")
    assert await later(component, "input-stream.blocking-read", stream, 10) == Ok(b"x")


async def test_input_that_breaks_is_an_error(open_component: Callable[..., FakeComponent]) -> None:
    """A read says so, and the poll before it is ready."""
    _, receiver = trio.testing.memory_stream_one_way_pair()
    await receiver.aclose()
    component = with_streams(open_component(), receiver)
    stream = stdin(component)
    pollable = of_input(component, "subscribe", stream)
    await component.acall("wasi:io/poll", "[method]pollable.block", pollable)
    assert component.call("wasi:io/poll", "[method]pollable.ready", pollable) is True
    failed = of_input(component, "read", stream, 1)
    assert failed.value.case == "last-operation-failed"
    assert component.call(TYPES, "filesystem-error-code", failed.value.value) == "io"
    assert of_input(component, "read", stream, 1) == CLOSED


# --- output ---


def test_output_arrives_in_order_and_whole(collected: tuple[FakeComponent, list[bytes]]) -> None:
    """By each function that writes."""
    component, written = collected
    stream = stdout(component)
    assert of_output(component, "check-write", stream) == Ok(PERMIT)
    assert of_output(component, "write", stream, b"a") == Ok()
    assert of_output(component, "blocking-write-and-flush", stream, b"b") == Ok()
    assert of_output(component, "write-zeroes", stream, 2) == Ok()
    assert of_output(component, "blocking-write-zeroes-and-flush", stream, 1) == Ok()
    assert of_output(component, "flush", stream) == Ok()
    assert of_output(component, "blocking-flush", stream) == Ok()
    assert of_output(component, "splice", stream, stdin(component), 4) == Ok(4)
    assert of_output(component, "blocking-splice", stream, stdin(component), 100) == Ok(6)
    assert b"".join(written) == b"ab\0\0\0" + b"0123456789"
    assert of_output(component, "splice", stream, stdin(component), 4) == CLOSED


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("write", bytes(PERMIT + 1)),
        ("blocking-write-and-flush", bytes(4097)),
        ("write-zeroes", 2**64 - 1),
        ("blocking-write-zeroes-and-flush", 4097),
    ],
)
def test_more_than_was_permitted_is_a_trap(
    collected: tuple[FakeComponent, list[bytes]], name: str, given: object
) -> None:
    """Before anything is written, or made."""
    component, written = collected
    with pytest.raises(GuestTrap, match="are permitted"):
        of_output(component, name, stdout(component), given)
    assert not written


async def test_lines_are_logged_in_pieces(
    open_component: Callable[..., FakeComponent], caplog: pytest.LogCaptureFixture
) -> None:
    """A write of many lines lets other tasks run between them."""
    component = open_component()
    stream = stdout(component)
    caplog.set_level(logging.INFO, "wasmpool.guest.stdout")
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        assert await later(component, "output-stream.write", stream, b"x\n" * 1000) == Ok()
        nursery.cancel_scope.cancel()
    assert [record.message for record in caplog.records] == ["x"] * 1000
    assert turns > 5  # of 15 pauses: the scheduler may have begun with either task


async def test_a_slow_reader_is_felt(open_component: Callable[..., FakeComponent]) -> None:
    """A write to a stream of trio's waits for it, and ends when it is cancelled."""
    sender, receiver = trio.testing.lockstep_stream_one_way_pair()
    component = with_streams(open_component(), target=sender)
    stream = stdout(component)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(later, component, "output-stream.write", stream, b"hello")
        await trio.testing.wait_all_tasks_blocked()
        assert await receiver.receive_some(100) == b"hello"
    with trio.CancelScope() as scope:
        scope.cancel()
        await later(component, "output-stream.blocking-write-and-flush", stream, b"more")
    assert scope.cancelled_caught


async def test_a_reader_that_has_gone_is_an_error(
    open_component: Callable[..., FakeComponent],
) -> None:
    """Once; then the stream is closed."""
    sender, receiver = trio.testing.lockstep_stream_one_way_pair()
    await receiver.aclose()
    component = with_streams(open_component(), target=sender)
    stream = stdout(component)
    failed = await later(component, "output-stream.write", stream, b"x")
    assert failed.value.case == "last-operation-failed"
    assert component.call(TYPES, "filesystem-error-code", failed.value.value) == "pipe"
    assert of_output(component, "check-write", stream) == CLOSED


async def test_a_splice_waits_for_its_source_and_for_its_target(
    open_component: Callable[..., FakeComponent],
) -> None:
    """What was read is written, whichever of them is slow."""
    sender, source = trio.testing.memory_stream_one_way_pair()
    target, receiver = trio.testing.lockstep_stream_one_way_pair()
    component = with_streams(open_component(), source, target)
    found: list[object] = []

    async def splice() -> None:
        streams = (stdout(component), stdin(component))
        found.append(await later(component, "output-stream.blocking-splice", *streams, 100))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(splice)
        await trio.testing.wait_all_tasks_blocked()
        await sender.send_all(b"through")
        await trio.testing.wait_all_tasks_blocked()
        assert not found
        assert await receiver.receive_some(100) == b"through"
    assert found == [Ok(7)]


def test_an_error_of_a_function_that_takes_the_output_is_the_guests(
    open_component: Callable[..., FakeComponent],
) -> None:
    """`OSError` is an error number; whatever else it raises ends the call."""

    def full(_data: bytes) -> None:
        raise OSError(errno.ENOSPC, "full")

    def broken(_data: bytes) -> None:
        raise ZeroDivisionError

    component = open_component(stdout=full, stderr=broken)
    failed = of_output(component, "write", stdout(component), b"x")
    assert failed.value.value.code == "insufficient-space"
    stderr = component.call("wasi:cli/stderr", "get-stderr")
    with pytest.raises(ZeroDivisionError):
        of_output(component, "write", stderr, b"x")
