"""`Pool.map`: many calls at once, their results in order."""

from __future__ import annotations

import gc
import itertools
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.fakes import FakeModule, Trap
from tests.pool.seams import settle
from trio.testing import MockClock, wait_all_tasks_blocked

from wasmpool._pool.pool import Pool, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator


async def collected(pool: Pool, name: str, args: Any, limit: int | None = None) -> list[Any]:
    async with pool.map(name, args, limit=limit) as results:
        return [result async for result in results]


async def later(items: Iterable[Any]) -> AsyncGenerator[Any]:
    for item in items:
        await trio.lowlevel.checkpoint()
        yield item


@pytest.mark.parametrize("limit", [None, 1, 3, 100])
async def test_results_come_in_the_order_of_the_input(
    module: FakeModule, autojump_clock: MockClock, limit: int | None
) -> None:
    """However long each call takes."""

    async def host(seconds: float) -> float:
        await trio.sleep(seconds)
        return seconds

    async def wait(seconds: float) -> float:
        return await host(seconds)

    async with open_pool(module, size=3) as pool:
        seconds = [3.0, 1.0, 2.0, 0.5, 0.0, 4.0]
        functions = [lambda seconds=each: wait(seconds) for each in seconds]
        assert await collected(pool, "host", functions, limit) == seconds


@pytest.mark.parametrize("items", [[], [(1,), [2], 3], range(50)])
async def test_an_item_is_one_argument_or_all(module: FakeModule, items: Iterable[Any]) -> None:
    """A tuple and a list are all arguments; an input without items has no results."""
    async with open_pool(module, size=2) as pool:
        wanted = [item[0] if isinstance(item, (tuple, list)) else item for item in items]
        assert await collected(pool, "echo", items) == wanted
        assert await collected(pool, "echo", later(items)) == wanted


async def test_an_error_is_the_result_in_its_place(module: FakeModule) -> None:
    """The calls before and after it are not touched."""
    async with open_pool(module, size=2) as pool:
        first, error, last = await collected(pool, "echo", [1, (1, 2), 3])
        assert (first, last) == (1, 3)
        assert isinstance(error, TypeError)
        assert [type(each) for each in await collected(pool, "trap", [(), ()])] == [Trap, Trap]
        assert pool.statistics().retired["trap"] == 2


async def test_what_the_input_raises_follows_the_results_before_it(module: FakeModule) -> None:
    """It comes once, as itself, and then there is no more."""

    def broken() -> Iterator[int]:
        yield 1
        raise OSError("the input is gone")

    async with open_pool(module) as pool:
        for items in broken(), later(broken()):
            async with pool.map("echo", items) as results:
                assert await anext(results) == 1
                with pytest.raises(OSError, match="the input is gone"):
                    await anext(results)
                assert [each async for each in results] == []


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_endless_input_is_read_as_far_as_there_is_room(
    module: FakeModule, *, asynchronous: bool
) -> None:
    """With a first call that does not end, no more than ``limit`` items are taken."""
    taken = 0
    release = trio.Event()

    def endless() -> Iterator[tuple[Any, ...]]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield (release.wait if number == 0 else trio.lowlevel.checkpoint,)

    async with open_pool(module, size=4) as pool:
        items: Any = later(endless()) if asynchronous else endless()
        async with pool.map("host", items, limit=6) as results:
            await wait_all_tasks_blocked()
            assert taken - 1 <= 6
            assert pool.statistics().granted == 6
            release.set()
            for _ in range(20):
                await anext(results)
            assert taken - 1 <= 6 + 20
        await settle(pool)


async def test_no_more_calls_than_the_limit_are_under_way(module: FakeModule) -> None:
    """None is the pool's size: no call of a map waits in the pool's queue."""
    async with open_pool(module, size=3, max_waiting=0) as pool:
        for limit, calls in (None, 3), (2, 2):
            events = [(trio.Event(),) for _ in range(30)]
            async with pool.map("wait", events, limit=limit) as results:
                await wait_all_tasks_blocked()
                assert pool.statistics().leased == calls
                assert pool.statistics().saturated == 0
                for (event,) in events:
                    event.set()
                assert len([each async for each in results]) == 30


async def test_others_go_on_while_one_is_slow(module: FakeModule) -> None:
    """Without a limit a slow call lets the others get eight results for each instance ahead."""
    release = trio.Event()
    functions = [release.wait, *[trio.lowlevel.checkpoint] * 100]
    async with open_pool(module, size=2) as pool, pool.map("host", functions) as results:
        await wait_all_tasks_blocked()
        assert pool.statistics().granted == 16
        release.set()
        assert len([each async for each in results]) == 101


@pytest.mark.parametrize("how", ["break", "error", "cancel"])
async def test_leaving_the_block_ends_the_calls(module: FakeModule, how: str) -> None:
    """However it is left, no call is there any more, and the error is as it was."""
    mine = KeyError("mine")
    scope = trio.CancelScope()
    async with open_pool(module, size=4) as pool:
        try:
            with scope:
                async with pool.map("spin", [()] * 10) as results:
                    await wait_all_tasks_blocked()
                    assert pool.statistics().leased == 4
                    if how == "cancel":
                        scope.cancel()
                        await anext(results)
                    if how == "error":
                        raise mine
        except KeyError as error:
            assert (how, error, error.__context__) == ("error", mine, None)  # noqa: PT017 - how?
        assert scope.cancelled_caught == (how == "cancel")
        await settle(pool)
        assert pool.statistics().leased == 0
        assert pool.statistics().retired["cancelled"] == 4


async def test_a_cancel_is_raised_before_a_result_is_taken(module: FakeModule) -> None:
    """Also where results are ready; those who go on get it."""
    async with open_pool(module) as pool, pool.map("echo", [1, 2]) as results:
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(results)
        assert scope.cancelled_caught
        assert [each async for each in results] == [1, 2]


async def test_the_results_end_with_the_block(module: FakeModule) -> None:
    """Later they say so."""
    async with open_pool(module) as pool:
        async with pool.map("echo", [1, 2]) as results:
            pass
        with pytest.raises(RuntimeError, match=r"^the block of pool\.map has ended"):
            await anext(results)


async def test_an_async_generator_is_closed_with_the_block(module: FakeModule) -> None:
    """It is not left to the garbage collector; another iterable stays as it is."""
    closed = False

    async def endless() -> AsyncGenerator[int]:
        nonlocal closed
        try:
            for number in itertools.count():
                yield number
        finally:
            closed = True

    async with open_pool(module) as pool:
        async with pool.map("echo", endless()) as results:
            assert await anext(results) == 0
            assert not closed
        assert closed
        send, receive = trio.open_memory_channel[int](1)
        await send.send(1)
        async with pool.map("echo", receive) as results:
            assert await anext(results) == 1
        await send.send(2)
        assert await receive.receive() == 2


async def test_one_task_reads_the_input(module: FakeModule) -> None:
    """So a generator may hold a lock, or a cancel scope, over what it yields."""
    lock = trio.Lock()

    async def locked() -> AsyncGenerator[int]:
        async with lock:
            for number in range(20):
                with trio.fail_after(60):
                    yield number

    async with open_pool(module, size=4) as pool:
        assert await collected(pool, "echo", locked()) == list(range(20))
    assert not lock.locked()


async def test_tasks_can_share_the_results(module: FakeModule) -> None:
    """Each result is given to one of them, and all of them hear of the end."""
    got: list[int] = []

    async def take(results: AsyncIterable[Any]) -> None:
        async for result in results:
            got.append(result)
            await trio.lowlevel.checkpoint()

    async with (
        open_pool(module) as pool,
        pool.map("echo", later(range(30))) as results,
        trio.open_nursery() as nursery,
    ):
        for _ in range(3):
            nursery.start_soon(take, results)
    assert sorted(got) == list(range(30))


async def test_results_are_kept_no_longer_than_needed(module: FakeModule) -> None:
    """An item and a result that was taken are free, though the block goes on."""

    class Thing:
        pass

    refs: list[weakref.ref[Thing]] = []

    def things() -> Iterator[Thing]:
        for _ in range(5):
            thing = Thing()
            refs.append(weakref.ref(thing))
            yield thing
            del thing

    async with open_pool(module) as pool, pool.map("echo", things()) as results:
        for _ in range(5):
            await anext(results)
        await wait_all_tasks_blocked()
        gc.collect()
        assert [ref() for ref in refs] == [None] * 5


async def test_a_closed_pool_is_an_error_in_each_place(module: FakeModule) -> None:
    """The map itself goes on: who wants to stop does so."""
    async with open_pool(module) as pool:
        await pool.aclose()
        results = await collected(pool, "echo", [1, 2])
        assert [type(each).__name__ for each in results] == ["PoolClosed", "PoolClosed"]


@pytest.mark.parametrize(
    ("args", "limit", "says"),
    [
        (
            "text",
            None,
            r"^pool\.map takes an iterable or .* with the arguments of each call, not a str$",
        ),
        ({"a": 1}, None, "not a dict"),
        (5, None, "arguments of each call, not 5$"),
        ([], 0, "^limit must be at least 1, not 0$"),
        ([], True, "^limit must be a whole number or None, not True$"),
        ([], 1.5, "^limit must be a whole number or None, not 1.5$"),
    ],
)
async def test_wrong_use_is_refused_at_once(
    module: FakeModule, args: Any, limit: Any, says: str
) -> None:
    async with open_pool(module) as pool:
        with pytest.raises((TypeError, ValueError), match=says):
            pool.map("echo", args, limit)


async def test_it_says_that_it_is_a_block(module: FakeModule) -> None:
    """The usual mistakes are answered by the right use."""
    async with open_pool(module) as pool:
        block: Any = pool.map("echo", [1])
        says = r"^pool\.map\(\.\.\.\) is no iterator: use `async with pool\.map\(.*\) as results:`$"
        with pytest.raises(TypeError, match=says):
            async for _ in block:
                pass
        with pytest.raises(TypeError, match=r"^pool\.map\(\.\.\.\) is not awaited"):
            await block


def test_a_map_in_another_trio_run_is_refused() -> None:
    """On entering; nothing of the input is read."""

    async def main() -> Pool:
        async with open_pool(FakeModule()) as pool:
            return pool

    async def elsewhere() -> None:
        async with pool.map("echo", iter([1])):
            raise AssertionError("the block was entered")

    pool = trio.run(main)
    with pytest.raises(RuntimeError, match="belongs to another trio run"):
        trio.run(elsewhere)
