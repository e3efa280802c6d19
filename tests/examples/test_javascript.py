"""JavaScript in a pool, with an async host function."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import javascript
import pytest
import trio
from tests.compiled_once import each_module_compiled_once

from wasmpool import GuestTrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from wasmpool import Pool

pytest.importorskip("quickjs_rs", reason="needs `pip install quickjs-rs`")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def compiled_once() -> Iterator[None]:
    with each_module_compiled_once():
        yield


@pytest.fixture
async def pool() -> AsyncGenerator[Pool]:
    async with javascript.open_javascript() as pool:
        yield pool


async def run(pool: Pool, source: str) -> Any:
    return json.loads(await javascript.run(pool, source))


async def test_its_output_is_this(capsys: pytest.CaptureFixture[str]) -> None:
    """Four scripts at once, in any order."""
    await javascript.main()
    assert sorted(capsys.readouterr().out.splitlines()) == [
        '{"error":"HostError: Host function failed"}',
        '{"error":"ReferenceError: nonsense is not defined"}',
        '{"value":"tea: 3.20; cake: 4.50; water: unknown"}',
        '{"value":6.4}',
    ]


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("", {}),
        ("return [1, null, 'ü\\n']", {"value": [1, None, "ü\n"]}),
        ("throw new Error('no')", {"error": "Error: no"}),
        ("syntax?", {"error": "SyntaxError: unexpected token in expression: '}'"}),
        ("await new Promise(() => {})", {"error": "it waits for what never comes"}),
        ("return (await Promise.all([price('tea'), 'x'])).join()", {"value": "3.20,x"}),
        (
            "await import('fs')",
            {"error": "ReferenceError: Error resolving module 'fs' from '<input>'"},
        ),
        (
            "let a = []; for (;;) a.push(new ArrayBuffer(1e6))",
            {"error": "InternalError: out of memory"},
        ),
    ],
)
async def test_how_a_script_ends_is_told(pool: Pool, source: str, answer: Any) -> None:
    """A value, or what it threw."""
    told = await run(pool, source)
    assert told == answer


async def test_scripts_see_nothing_of_each_other(pool: Pool) -> None:
    """Each has a pristine instance."""
    for _ in range(10):
        told = await run(pool, "const was = globalThis.left; globalThis.left = 1; return [was]")
        assert told == {"value": [None]}


async def test_a_script_can_be_stopped_anywhere(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a loop, between continuations and in the host function; the pool serves on."""
    monkeypatch.setattr(javascript, "SECONDS", 0.2)
    for source in ("for (;;);", "while (true) await 1", "for (;;) price('tea')"):
        with pytest.raises(trio.TooSlowError):
            await javascript.run(pool, source)
    monkeypatch.undo()
    with pytest.raises(GuestTrap, match="stack"):
        await javascript.run(pool, "const deep = () => deep(); deep()")
    assert await run(pool, "return 1") == {"value": 1}


async def test_what_the_host_function_raises_comes_out(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is, of the call that made the script call it."""

    async def price(item: str) -> str:
        raise LookupError(item)

    monkeypatch.setattr(javascript, "price", price)
    with pytest.raises(LookupError, match="tea"):
        await javascript.run(pool, "return price('tea')")


async def test_a_hundred_scripts_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are in the host function at the same time."""
    waiting = 0
    all_wait = trio.Event()

    async def price(item: str) -> str:
        nonlocal waiting
        waiting += 1
        if waiting == 100:
            all_wait.set()
        await all_wait.wait()
        return item

    monkeypatch.setattr(javascript, "price", price)
    answers: list[str] = []

    async def show(pool: Pool, item: str) -> None:
        answers.append(await javascript.run(pool, f"return await price('{item}')"))

    async with javascript.open_javascript(100) as pool, trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(show, pool, f"item {number}")
    assert sorted(answers) == sorted(f'{{"value":"item {number}"}}' for number in range(100))


async def test_a_hundred_scripts_take_about_as_long_as_one() -> None:
    """At most four times as long: a host function's 50 ms, and 1.5 ms for each of them."""

    async def wait(pool: Pool, scripts: int) -> float:
        start = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(scripts):
                nursery.start_soon(javascript.run, pool, "return await price('tea')")
        return time.perf_counter() - start

    one, hundred = [], []
    async with javascript.open_javascript(100) as pool:
        for _ in range(10):
            await trio.testing.wait_all_tasks_blocked()
            one.append(await wait(pool, 1))
            hundred.append(await wait(pool, 100))
    print(f"1: {min(one) * 1000:.0f} ms; 100: {min(hundred) * 1000:.0f} ms")
    assert min(hundred) < 4 * min(one)
