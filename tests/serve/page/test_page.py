"""The page at ``/``: what its viewers are sent."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from starlette.applications import Starlette
from tests.compiled_once import each_module_compiled_once

from wasmpool import open_loader
from wasmpool._serve.page import picture, routes
from wasmpool._serve.page.history import KEPT, History
from wasmpool._serve.page.routes import Page
from wasmpool.example import PATH

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, MutableMapping

    from wasmpool import Loader


@pytest.fixture(autouse=True, scope="module")
def compiled_once() -> Generator[None]:
    """What is tested here does not depend on how long a module takes to compile."""
    with each_module_compiled_once():
        yield


@pytest.fixture
async def loader() -> AsyncGenerator[Loader, None]:
    """A loader with the example plugin as ``words``."""
    async with open_loader(size=2) as loader:
        await loader.load(PATH, name="words")
        yield loader


class Viewer:
    """A client of the page's application: one request, its answer piece by piece."""

    def __init__(self, page: Page, path: str) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.gone = trio.Event()
        self._app = Starlette(routes=list(page.routes))
        self._path = path
        self._send, self._pieces = trio.open_memory_channel[bytes](0)

    async def ask(self) -> None:
        """Ask, until the answer ends or the client is gone."""
        scope: MutableMapping[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "method": "GET",
            "path": self._path,
            "query_string": b"",
            "headers": [],
        }
        async with self._send:
            await self._app(scope, self._receive, self._take)

    async def _receive(self) -> MutableMapping[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _take(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {key.decode(): value.decode() for key, value in message["headers"]}
        elif message["body"]:
            await self._send.send(message["body"])

    async def event(self) -> tuple[str, Any]:
        """The next event: its kind and its data."""
        piece = (await self._pieces.receive()).decode()
        found = re.fullmatch(r"event: (\w+)\ndata: (.*)\n\n", piece)
        assert found, piece
        return found[1], json.loads(found[2])

    async def text(self) -> str:
        """The whole answer."""
        return b"".join([piece async for piece in self._pieces]).decode()


async def test_a_viewer_is_told_of_each_plugin_once_and_then_of_each_second(
    loader: Loader, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """A new generation is told of again."""
    page = Page(loader)
    nursery.start_soon(page.run)
    await trio.sleep(10.5)
    viewer = Viewer(page, "/events")
    nursery.start_soon(viewer.ask)
    kind, plugin = await viewer.event()
    assert (kind, plugin["name"], plugin["generation"]) == ("plugin", "words", 1)
    assert "word_count" in [tool["name"] for tool in plugin["tools"]]
    assert len(plugin["points"]) == 10
    kind, moment = await viewer.event()
    assert kind == "now"
    assert [each["name"] for each in moment["plugins"]] == ["words"]
    assert (await viewer.event())[0] == "now"
    await loader.plugins["words"].configure({"base_url": "http://a"})
    kinds = [await viewer.event() for _ in range(3)]
    assert ("plugin", 2) in [(kind, data.get("generation")) for kind, data in kinds]
    nursery.cancel_scope.cancel()


async def test_what_happens_now_is_shown(
    loader: Loader, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Calls, leases with their holders, waiting tasks, and why instances retired."""
    page, pool = Page(loader), loader.plugins["words"].pool
    nursery.start_soon(page.run)
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(7):
        await loader.plugins["words"].execute("word_count", {"text": "a"})
    async with pool.lease() as lease:
        lease.discard()
    async with pool.lease(), pool.lease():
        asker = trio.CancelScope()

        async def ask() -> None:
            with asker:
                await pool.call("healthy")

        nursery.start_soon(ask)
        await trio.sleep(2.5)
        viewer = Viewer(page, "/events")
        nursery.start_soon(viewer.ask)
        await viewer.event()
        _, moment = await viewer.event()
        asker.cancel()
    (shown,) = moment["plugins"]
    assert (shown["leased"], shown["idle"], shown["waiting"]) == (2, 0, 1)
    assert shown["retired"] == {"discarded": 1}
    assert shown["calls"] == 8
    assert len(shown["leases"]) == 2
    assert shown["leases"][0]["seconds"] == pytest.approx(2.5, abs=0.1)
    assert "test_what_happens_now_is_shown" in shown["leases"][0]["holder"]
    nursery.cancel_scope.cancel()


async def test_points_are_what_happened_between_them(loader: Loader) -> None:
    """The rate is of a second, and old points are dropped."""
    plugin = loader.plugins["words"]
    history = History(plugin, plugin.pool.statistics(), 0.0)
    for _ in range(6):
        await plugin.execute("word_count", {"text": "a"})
    history.add(plugin.pool.statistics(), 2.0)
    assert (history.points[0].time, history.points[0].rate) == (2.0, 3.0)
    assert 0 < history.points[0].p50 <= history.points[0].p99
    for second in range(KEPT):
        history.add(plugin.pool.statistics(), 3.0 + second)
    assert len(history.points) == KEPT
    assert {point[1:] for point in history.points} == {(0.0, 0.0, 0.0)}


async def test_a_plugin_of_the_same_name_begins_a_new_history(
    loader: Loader, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Its counts begin at zero, so the old ones are no earlier snapshot."""
    page = Page(loader)
    nursery.start_soon(page.run)
    await loader.plugins["words"].execute("word_count", {"text": "a"})
    await trio.sleep(3.5)
    await loader.unload("words")
    await loader.load(PATH, name="words")
    await trio.sleep(2)
    viewer = Viewer(page, "/events")
    nursery.start_soon(viewer.ask)
    _, plugin = await viewer.event()
    assert len(plugin["points"]) == 1
    await loader.unload("words")
    await trio.sleep(1)
    while (await viewer.event())[1]["plugins"]:
        pass
    nursery.cancel_scope.cancel()


async def test_a_viewer_that_is_gone_makes_room(
    loader: Loader,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The number of viewers is bounded, and one too many is told so."""
    monkeypatch.setattr(routes, "_MOST_VIEWERS", 1)
    page = Page(loader)
    nursery.start_soon(page.run)
    first, second, third = (Viewer(page, "/events") for _ in range(3))
    nursery.start_soon(first.ask)
    await first.event()
    nursery.start_soon(second.ask)
    assert await second.text() == "1 viewers are connected, the most that there can be\n"
    assert second.status == 503
    first.gone.set()
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(third.ask)
    await third.event()
    assert third.status == 200
    nursery.cancel_scope.cancel()


async def test_many_viewers_that_ask_at_once(
    loader: Loader, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One too many is refused, though none was answered yet when it asked."""
    monkeypatch.setattr(routes, "_MOST_VIEWERS", 3)
    page = Page(loader)
    viewers = [Viewer(page, "/events") for _ in range(8)]
    for viewer in viewers:
        nursery.start_soon(viewer.ask)
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(viewer.status for viewer in viewers) == [200] * 3 + [503] * 5
    nursery.cancel_scope.cancel()


async def test_the_document_allows_only_its_own_script_and_style(
    loader: Loader, nursery: trio.Nursery
) -> None:
    """By their digests. It refers to nothing elsewhere, and holds no data."""
    viewer = Viewer(Page(loader), "/")
    nursery.start_soon(viewer.ask)
    document = await viewer.text()
    policy = viewer.headers["content-security-policy"]
    for tag in ("style", "script"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", document, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "innerHTML" not in document
    assert re.findall(r"https?://[^\"\s]+", document) == ["http://www.w3.org/2000/svg"]
    assert "words" not in document


def test_long_texts_and_many_failures_are_cut() -> None:
    """What a plugin or a file says does not decide how much is sent."""
    failures: dict[str, BaseException] = {
        f"plugin {n}": ValueError("x" * 9_999) for n in range(999)
    }
    shown = picture.failed(failures)
    assert len(shown) == 100
    assert len(json.dumps(shown)) < 150_000
    cause = ValueError("no magic number")
    wrapped = RuntimeError("the reload failed")
    wrapped.__cause__ = cause
    (one,) = picture.failed({"broken": wrapped})
    assert one == {
        "name": "broken",
        "error": "RuntimeError: the reload failed (ValueError: no magic number)",
    }
    repeated = RuntimeError("the reload failed: no magic number")
    repeated.__cause__ = cause
    (one,) = picture.failed({"broken": repeated})
    assert one["error"] == "RuntimeError: the reload failed: no magic number"


def test_an_event_is_one_line_whatever_the_text() -> None:
    """A line feed would end it, and a lone surrogate is not UTF-8."""
    text = routes._event("plugin", {"name": "a\r\nb\u2028\ud800", "rate": math.pi})
    assert text.encode().count(b"\n") == 3
    assert json.loads(text.splitlines()[1].removeprefix("data: "))["name"] == "a\r\nb\u2028\ud800"
