"""Many plugins ask a server that misbehaves at random; `misbehaving_server` says how.

The soak runs for ``WASMPOOL_SOAK_SECONDS`` (600), with the seed ``WASMPOOL_SOAK_SEED`` (1).
"""

from __future__ import annotations

import gc
import json
import os
import threading
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from tests.held_loop import HELD, LongestStep, watching
from tests.http.misbehaving_server import Server, answers_another, serving

from wasmpool._http.host_function import Http
from wasmpool._http.policy import HttpPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

PLUGINS = 32
SECONDS = float(os.environ.get("WASMPOOL_SOAK_SECONDS", "600"))
SEED = int(os.environ.get("WASMPOOL_SOAK_SEED", "1"))
POLICY = HttpPolicy(allow_private=True, allow_hosts=["127.0.0.1"], max_timeout=1.0)


@attrs.define
class Outcome:
    """What came of all requests."""

    answered: int = 0
    failed: int = 0
    cancelled: int = 0
    wrong: list[tuple[str, dict[str, Any]]] = attrs.field(factory=list)


@attrs.define
class Plugin:
    """One that asks again and again, two requests at a time, and now and then gives up."""

    number: int
    server: Server
    outcome: Outcome
    random: Random
    http: Http = attrs.field(factory=lambda: Http(POLICY, 16 << 20))
    turn: int = 0

    async def run(self, until: Callable[[int], bool]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask_until, until)
            nursery.start_soon(self._ask_until, until)
        await self.http.aclose()

    async def _ask_until(self, is_over: Callable[[int], bool]) -> None:
        while not is_over(self.turn):
            self.turn += 1
            token = f"{self.number}-{self.turn}"
            seconds = self.random.random() / 20 if self.random.random() < 0.1 else 60
            with trio.move_on_after(seconds) as scope:
                await self._ask(token)
            self.outcome.cancelled += scope.cancelled_caught

    async def _ask(self, token: str) -> None:
        request: dict[str, object] = {"url": f"{self.server.url}/any/{token}", "headers": {}}
        if self.random.random() < 0.4:
            request["headers"] = {"X-H2C": "1"}
        if self.random.random() < 0.3:
            size = self.random.choice([1, 1000, 300_000])
            request |= {"method": "POST", "body": "x" * size}
        reply = json.loads(await self.http.answer(json.dumps(request).encode()))
        self.outcome.answered += bool(reply["status"])
        self.outcome.failed += not reply["status"]
        if answers_another(reply, token):
            self.outcome.wrong.append((token, reply))


def descriptors() -> int:
    gc.collect()
    return sum(each.exists() for each in Path("/proc/self/fd").iterdir())


def own_threads() -> list[str]:
    """Without those that trio keeps for ten seconds, in case that they are needed again."""
    names = [each.name for each in threading.enumerate()]
    return sorted(name for name in names if not name.startswith("Trio thread"))


async def misbehave(seed: int, is_over: Callable[[int], bool], until: Until) -> Outcome:
    """Let all plugins ask until it is over, and look at what is left."""
    outcome = Outcome()
    tasks = trio.lowlevel.current_statistics().tasks_living
    threads = own_threads()
    before = descriptors()
    async with serving(seed) as server:
        plugins = [
            Plugin(number, server, outcome, Random(f"{seed}/{number}")) for number in range(PLUGINS)
        ]
        await plugins[0].http.import_client()
        with watching(LongestStep) as longest:
            async with trio.open_nursery() as nursery:
                for plugin in plugins:
                    nursery.start_soon(plugin.run, is_over)
    assert not outcome.wrong
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert own_threads() == threads
    await until(lambda: descriptors() <= before)
    assert longest.seconds < HELD
    return outcome


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_comes_of_misbehaviour(seed: int, until: Until) -> None:
    """No exception, no wrong answer, nothing left behind, and the loop goes on."""
    outcome = await misbehave(seed, lambda turn: turn >= 8, until)
    assert outcome.answered > PLUGINS
    assert outcome.failed > PLUGINS
    assert outcome.cancelled > 0


@pytest.mark.slow
async def test_nothing_comes_of_misbehaviour_in_the_long_run(until: Until) -> None:
    """The same for ten minutes."""
    end = trio.current_time() + SECONDS
    outcome = await misbehave(SEED, lambda _: trio.current_time() > end, until)
    assert outcome.answered > PLUGINS
