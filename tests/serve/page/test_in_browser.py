"""The page in a real browser."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anycorn
import pytest
import trio
from anycorn.config import Config
from starlette.applications import Starlette
from tests.serve.page.browser import CHROMIUM, open_tab

from wasmpool import open_loader
from wasmpool._serve.page.routes import Page
from wasmpool.example import PATH

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from wasmpool import Loader

HOSTILE = "<img src=x onerror=document.title='broken'>"


@asynccontextmanager
async def served(loader: Loader) -> AsyncGenerator[str, None]:
    """The page on a port of its own; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    page = Page(loader)
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = 0.1
    app: Any = Starlette(routes=list(page.routes))  # anycorn has types of its own
    looked, ended = trio.Event(), trio.Event()

    async def serve() -> None:
        await anycorn.serve(app, config, shutdown_trigger=looked.wait)
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(page.run)
        nursery.start_soon(serve)
        yield f"http://127.0.0.1:{port}/"
        looked.set()
        await ended.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
async def test_a_browser_shows_what_happens_and_a_hostile_name_as_text(tmp_path: Path) -> None:
    """It follows the events, and nothing is refused by the policy or fails."""
    with trio.fail_after(60):
        async with (
            open_loader(size=3) as loader,
            served(loader) as url,
            open_tab(tmp_path) as tab,
        ):
            plugin = await loader.load(PATH, name=HOSTILE)
            await tab.visit(url)
            await tab.wait_for("document.querySelectorAll('article h2').length === 1")
            assert await tab.evaluate("document.querySelector('h2').textContent") == HOSTILE
            async with plugin.pool.lease():
                await tab.wait_for("document.querySelectorAll('.strip i.leased').length === 1")
                assert await tab.evaluate("document.querySelectorAll('.strip i').length") == 3
                await tab.wait_for("document.querySelectorAll('article tr').length === 1")
            for _ in range(5):
                await plugin.execute("word_count", {"text": "a"})
            await tab.wait_for("document.body.innerText.includes('6 calls; no instance has')")
            await loader.unload(HOSTILE)
            await tab.wait_for("document.querySelectorAll('article').length === 0")
            await tab.wait_for("document.querySelector('#empty').hidden === false")
            assert await tab.evaluate("document.title") == "wasmpool"
            assert await tab.evaluate("document.querySelectorAll('img').length") == 0
            assert tab.logged == []
