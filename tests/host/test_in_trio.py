"""Outside of trio each entry point says that wasmpool runs on trio."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trio

from wasmpool import open_loader, open_plugin, open_pool
from wasmpool_host import Module
from wasmpool_host.lowlevel import check_trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from wasmpool import Pool
    from wasmpool_host import Instance

WAT = '(module (memory (export "memory") 1) (func (export "f")))'


class Things(NamedTuple):
    module: Module
    instance: Instance
    pool: Pool


ASKS: list[tuple[str, Callable[[Things], Awaitable[Any]]]] = [
    ("Module.compile", lambda _: Module.compile(WAT)),
    ("Module.instantiate", lambda has: has.module.instantiate()),
    ("Instance.call", lambda has: has.instance.call("f")),
    ("Instance.exchange", lambda has: has.instance.exchange("f")),
    ("Instance.aclose", lambda has: has.instance.aclose()),
    ("open_pool", lambda has: _enter(open_pool(has.module))),
    ("open_plugin", lambda _: _enter(open_plugin(Path("no.wasm")))),
    ("open_loader", lambda _: _enter(open_loader())),
    ("pool 'p'", lambda has: has.pool.call("f")),
    ("pool 'p'", lambda has: has.pool.exchange("f")),
    ("pool 'p'", lambda has: _enter(has.pool.lease())),
    ("pool 'p'", lambda has: has.pool.resize(2)),
]


async def _enter(manager: AbstractAsyncContextManager[Any]) -> None:
    async with manager:
        pass


def _under_asyncio(ask: Callable[[], Awaitable[Any]]) -> None:
    async def main() -> None:
        await ask()

    asyncio.run(main())


def _with_no_loop(ask: Callable[[], Awaitable[Any]]) -> None:
    ask().__await__().send(None)


@pytest.mark.parametrize(("name", "ask"), ASKS)
@pytest.mark.parametrize(
    ("run", "where"), [(_under_asyncio, "under asyncio"), (_with_no_loop, "outside of a trio run")]
)
async def test_every_entry_point_names_trio(
    name: str,
    ask: Callable[[Things], Awaitable[Any]],
    run: Callable[[Callable[[], Awaitable[Any]]], None],
    where: str,
) -> None:
    """Used without trio, it raises RuntimeError that names it, and says to use trio.run."""
    module = await Module.compile(WAT)
    async with open_pool(module, name="p") as pool:
        instance = await module.instantiate()
        things = Things(module, instance, pool)
        with pytest.raises(RuntimeError, match="trio.run") as caught:
            await trio.to_thread.run_sync(run, lambda: ask(things))
        assert str(caught.value).startswith(f"{name} was used {where}, and wasmpool runs")
        assert await instance.call("f") is None
        await instance.aclose()


def _await_in_one_thread(run: Callable[[Any], None], kind: str) -> str:
    """Use a closed pool where its trio run has ended, in the same thread; what it says."""

    async def keep() -> Any:
        async with open_pool(await Module.compile(WAT), name="p") as pool, pool.lease() as lease:
            return pool, lease

    pool, lease = trio.run(keep)
    used = pool if kind == "pool" else lease
    with pytest.raises(RuntimeError) as caught:
        run(lambda: used.call("f"))
    return str(caught.value)


@pytest.mark.parametrize("kind", ["pool", "lease"])
def test_a_call_on_the_way_without_a_check_names_trio_too(kind: str) -> None:
    """A call pays nothing for the check, and still names trio where its own thread runs asyncio."""
    said = _await_in_one_thread(_under_asyncio, kind)
    assert "pool 'p' was used under asyncio, and wasmpool runs on trio" in said


async def test_within_trio_nothing_is_raised() -> None:
    """In a task of a trio run the check passes."""
    assert check_trio("this test") is None  # type: ignore[func-returns-value]  # says that it returns
