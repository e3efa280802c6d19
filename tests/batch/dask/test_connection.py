"""The connection, with a client that does as its script says."""

from __future__ import annotations

import asyncio
from typing import Any, final

import pytest
import trio
import trio.testing
from distributed.client import FutureCancelledError

from wasmpool._batch.chunk import Chunk, ChunkRows
from wasmpool._batch.dask.connection import Connection
from wasmpool._batch.dask.places import DaskPlaces
from wasmpool._batch.dask.recipe import Recipe, Refusal
from wasmpool._batch.dask.sealed import Sealed
from wasmpool._batch.job import Job
from wasmpool._batch.places import PlaceLost, PlacesFailed

CHUNK = Chunk(number=3, first_line=31, count=1, data=b"words\n")
ROWS = ChunkRows(count=1, content=b'{"data": "ok"}\n')


@final
class FakeFuture:
    def __init__(self, client: FakeClient, key: str) -> None:
        self._client = client
        self.key = key
        self.is_cancelled = False
        self.is_released = False

    async def result(self) -> Any:
        outcome = self._client.outcomes.pop(0)
        if outcome is None:
            self._client.waited_for.set()
            await asyncio.Event().wait()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    def release(self) -> None:
        self.is_released = True


@final
class FakeClient:
    """Its tasks have these outcomes; None is a task that does not end."""

    def __init__(self, *outcomes: Any) -> None:
        self.status = "running"
        self.outcomes = list(outcomes)
        self.futures: list[FakeFuture] = []
        self.priorities: list[int] = []
        self.waited_for = asyncio.Event()

    def submit(self, *_: object, key: str, pure: bool, priority: int = 0) -> FakeFuture:
        assert not pure
        self.futures.append(FakeFuture(self, key))
        self.priorities.append(priority)
        return self.futures[-1]

    def subscribe_topic(self, topic: str, handler: object) -> None:
        assert topic == "worker-restart-memory"


def connection_of(client: Any) -> Connection:
    return Connection(
        address="tcp://scheduler:1",
        threads=2,
        client=client,
        versions={},
        recipe=Sealed(Recipe(job=Job(file="x", size=1, tasks=1), module_digest="")),
        binary=Sealed(b""),
    )


def test_a_chunk_that_was_forgotten_is_given_again() -> None:
    """With a key of its own; and so is the module, if it was forgotten as well."""
    client = FakeClient(FutureCancelledError("key", "scheduler-restart"), ROWS)
    connection = connection_of(client)
    client.futures[0].is_cancelled = True
    assert asyncio.run(connection.do(CHUNK)) is ROWS
    keys = [future.key for future in client.futures]
    assert len(set(keys)) == 4
    assert [key.split("-")[1] for key in keys] == ["module", "module", "chunk", "chunk"]
    assert client.priorities[-1] == -3
    assert all(future.is_released for future in client.futures[2:])


def test_a_chunk_that_is_always_forgotten_is_lost() -> None:
    """There is an end."""
    client = FakeClient(*[FutureCancelledError("key", "lost dependencies")] * 5, ROWS)
    with pytest.raises(PlaceLost, match="tcp://scheduler:1 has dropped these lines repeatedly"):
        asyncio.run(connection_of(client).do(CHUNK))


def test_the_refusal_of_a_worker_ends_the_batch() -> None:
    """With its words."""
    with pytest.raises(PlacesFailed, match="why not"):
        asyncio.run(connection_of(FakeClient(Refusal("why not"))).do(CHUNK))


def test_a_connection_that_was_lost_is_not_used_again() -> None:
    """Dask connects again, but what it had is forgotten."""
    client = FakeClient(RuntimeError("any"), ROWS)
    connection = connection_of(client)
    client.status = "connecting"
    with pytest.raises(PlacesFailed, match="the scheduler tcp://scheduler:1 is gone"):
        asyncio.run(connection.do(CHUNK))
    client.status = "running"
    with pytest.raises(PlacesFailed, match="the scheduler tcp://scheduler:1 is gone"):
        asyncio.run(connection.do(CHUNK))


def test_a_cancel_takes_the_task_back() -> None:
    """Only that one; and what waits for its result is left to the end of the loop."""

    async def main() -> FakeClient:
        client = FakeClient(None, ROWS)
        connection = connection_of(client)
        task = asyncio.create_task(connection.do(CHUNK))
        await client.waited_for.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await connection.do(CHUNK) is ROWS
        return client

    client = asyncio.run(main())
    assert [future.is_cancelled for future in client.futures] == [False, True, False]


@final
class Inline:
    """Runs coroutines where they are called."""

    async def run(self, function: Any, *args: Any) -> Any:
        return await function(*args)


@final
class Losing:
    """A connection that loses each chunk, when it is told to."""

    threads = 2
    address = "tcp://scheduler:1"

    def __init__(self) -> None:
        self.under_way: list[int] = []
        self.go_on = trio.Event()

    async def do(self, chunk: Chunk) -> ChunkRows:
        self.under_way.append(chunk.number)
        await self.go_on.wait()
        raise PlaceLost("lost")


async def test_chunks_that_were_lost_are_tried_again_one_at_a_time() -> None:
    """The others go on meanwhile. So only the one that ends workers is lost again."""
    losing = Losing()
    thread: Any = Inline()
    connection: Any = losing
    places = DaskPlaces(thread, connection, None)
    chunks = [
        Chunk(number=number, first_line=number + 1, count=1, data=b"a\n") for number in range(4)
    ]

    async def do(chunk: Chunk) -> None:
        with pytest.raises(PlaceLost):
            await places.do(chunk)

    losing.go_on.set()
    for chunk in chunks[:3]:
        await do(chunk)
    losing.go_on, losing.under_way = trio.Event(), []
    async with trio.open_nursery() as nursery:
        for chunk in chunks:
            nursery.start_soon(do, chunk)
        await trio.testing.wait_all_tasks_blocked()
        assert len(losing.under_way) == 2
        assert 3 in losing.under_way
        losing.go_on.set()
    assert sorted(losing.under_way) == [0, 1, 2, 3]


async def test_a_cancelled_suspect_makes_way_for_the_next() -> None:
    """While it is tried again, and while it waits."""
    losing = Losing()
    thread: Any = Inline()
    connection: Any = losing
    places = DaskPlaces(thread, connection, None)
    chunks = [
        Chunk(number=number, first_line=number + 1, count=1, data=b"a\n") for number in range(3)
    ]
    losing.go_on.set()
    for chunk in chunks:
        with pytest.raises(PlaceLost):
            await places.do(chunk)
    losing.go_on, losing.under_way = trio.Event(), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(places.do, chunks[0])
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(places.do, chunks[1])
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    losing.go_on.set()
    with pytest.raises(PlaceLost):
        await places.do(chunks[2])
    assert losing.under_way == [0, 2]
