"""Serves the page, and the events that refresh it.

The document is the same for everybody and has no data. It asks for ``/events``, a stream of
server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)::

    event: plugin   what a plugin is, and its last minutes; once, and for each new generation
    event: now      all plugins at this moment, and what could not be loaded; each second

A viewer that reads too slowly misses seconds. Nothing is kept for it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, final

import trio
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from .history import History
from .picture import about, failed, now

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence
    from contextlib import AbstractContextManager

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from wasmpool import Loader

__all__ = ["Page"]

_PAUSE: Final = 1.0  # seconds between two points
_MOST_VIEWERS: Final = 16  # each costs an encoded picture every second
_MOST_PLUGINS: Final = 200  # a longer page helps nobody


@final
class Page:
    """The page of one loader: `run` measures, `routes` serve what was measured."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._histories: dict[str, History] = {}
        self._measured = trio.Event()
        self._moment: str | None = None  # the event of the last measurement, once a viewer asked
        self._viewers = 0

    @property
    def routes(self) -> Sequence[Route]:
        """``/`` and ``/events``, for a Starlette application."""
        return (Route("/", _document), Route("/events", self._events))

    async def run(self) -> None:
        """Measure each second until cancelled."""
        while True:
            await self._measure()
            self._moment = None
            self._measured.set()
            self._measured = trio.Event()
            await trio.sleep(_PAUSE)

    async def _measure(self) -> None:
        serving = dict(list(self._loader.plugins.items())[:_MOST_PLUGINS])
        for gone in self._histories.keys() - serving.keys():
            del self._histories[gone]
        for name, plugin in serving.items():
            statistics, time = plugin.pool.statistics(), trio.current_time()
            history = self._histories.get(name)
            if history is None or history.plugin is not plugin:
                self._histories[name] = History(plugin, statistics, time)
            else:
                history.add(statistics, time)
            await trio.lowlevel.checkpoint()  # a snapshot takes some 50 us

    async def _events(self, _request: Request) -> Response:
        if self._viewers >= _MOST_VIEWERS:
            return PlainTextResponse(
                f"{_MOST_VIEWERS} viewers are connected, the most that there can be\n", 503
            )
        return _EventStream(self._viewing, self._send_events)

    @contextmanager
    def _viewing(self) -> Generator[None]:
        self._viewers += 1
        try:
            yield
        finally:
            self._viewers -= 1

    async def _send_events(self, send: Callable[[str], Awaitable[None]]) -> None:
        known: dict[str, tuple[History, int]] = {}
        while True:
            measured = self._measured
            for event in self._picture(known):
                await send(event)
            await measured.wait()

    def _picture(self, known: dict[str, tuple[History, int]]) -> list[str]:
        """The events of one moment; ``known`` is what this viewer was told of each plugin."""
        events: list[str] = []
        for name, history in self._histories.items():
            plugin = history.plugin
            state = history, plugin.pool.generation
            if known.get(name) != state:
                known[name] = state
                events.append(_event("plugin", about(name, plugin, history)))
        if self._moment is None:
            self._moment = _event("now", self._now())
        return [*events, self._moment]

    def _now(self) -> dict[str, Any]:
        time = trio.current_time()
        return {
            "time": round(time, 1),
            "plugins": [now(name, history, time) for name, history in self._histories.items()],
            "hidden": max(0, len(self._loader.plugins) - _MOST_PLUGINS),
            "failed": failed(self._loader.failures),
        }


@final
class _EventStream(Response):
    """Sends events until its client is gone.

    Starlette's own stream leaves its generator to the garbage collector when the client goes.
    """

    def __init__(
        self,
        viewing: Callable[[], AbstractContextManager[None]],
        write: Callable[[Callable[[str], Awaitable[None]]], Awaitable[None]],
    ) -> None:
        # A proxy may neither keep the events nor hold them back.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(media_type="text/event-stream", headers=headers)
        del self.headers["content-length"]
        self._viewing = viewing
        self._write = write

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        async def send_event(event: str) -> None:
            body = event.encode()
            await send({"type": "http.response.body", "body": body, "more_body": True})

        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        # It counts at once: the next viewer may ask before this one is answered.
        with self._viewing():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_wait_until_gone, receive, nursery.cancel_scope)
                await send(start)
                await self._write(send_event)


async def _wait_until_gone(receive: Receive, viewing: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    viewing.cancel()


def _event(kind: str, data: Any) -> str:
    # ASCII: a lone surrogate in a name would not be UTF-8, and a line separator ends no line here.
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


async def _document(_request: Request) -> Response:
    document, policy = _read_document()
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(document, headers=headers)


@cache
def _read_document() -> tuple[str, str]:
    """The document, and a policy that lets nothing run but its own style and script."""
    document = files(__name__.rpartition(".")[0]).joinpath("page.html").read_text(encoding="utf-8")
    style, script = (_digest(document, tag) for tag in ("style", "script"))
    policy = (
        f"default-src 'none'; style-src {style}; script-src {script}; connect-src 'self';"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return document, policy


def _digest(document: str, tag: str) -> str:
    found = re.search(f"<{tag}>(.*?)</{tag}>", document, re.DOTALL)
    assert found, tag
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'"
