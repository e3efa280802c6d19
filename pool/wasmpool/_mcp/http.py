"""The protocol over HTTP, as an ASGI application."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from starlette.routing import Route, Router

from .allowed_hosts import AllowedHosts
from .http_application import MAX_BODY, PATH, HttpApplication

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Generator, Sequence

    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

    from .endpoint import Endpoint

__all__ = ["http_app"]

_MAX_SESSIONS: Final = 1_000
"""Of clients with a handshake; the others have none."""
_SESSION_IDLE: Final = 30 * 60.0
"""Seconds without a request or a stream after which a session ends."""
_TELL_SESSIONS: Final = (
    "mcp.server.streamable_http",
    "mcp.server.streamable_http_manager",
)
"""Loggers that tell the names of sessions, which let a client take one over."""


def http_app(  # noqa: PLR0913 - options, by name
    endpoint: Endpoint,
    *,
    token: str | None = None,
    allowed_hosts: Collection[str] = (),
    allowed_origins: Collection[str] = (),
    routes: Sequence[BaseRoute] = (),
    runs_endpoint: bool = False,
    around: Callable[[ASGIApp], ASGIApp] | None = None,
) -> HttpApplication:
    """Return an ASGI application with the protocol at ``/mcp``.

    Args:
        endpoint: what answers.
        token: the bearer token that each request must have; None is no token.
        allowed_hosts: as for `AllowedHosts`.
        allowed_origins: as for `AllowedHosts`.
        routes: more routes, behind the same checks.
        around: puts another application around the routes, inside of the checks.
        runs_endpoint: the application's lifespan is that of the endpoint, which does not run yet.

    Raises:
        ValueError: the token is empty, or an allowed host or origin is none.

    Its lifespan has to be run, as ASGI servers do.
    """
    if token is not None and not token.strip():
        raise ValueError("token must not be empty; None is no token")
    allowed = AllowedHosts(allowed_hosts, allowed_origins)
    sessions = StreamableHTTPSessionManager(
        endpoint.server,
        max_request_body_size=MAX_BODY,
        max_sessions=_MAX_SESSIONS,
        session_idle_timeout=_SESSION_IDLE,
    )

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncGenerator[None]:
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(_quiet_sessions())
            if runs_endpoint:
                await stack.enter_async_context(endpoint.running())
            await stack.enter_async_context(sessions.run())
            yield

    protocol = Route(PATH, endpoint=StreamableHTTPASGIApp(sessions))
    router: ASGIApp = Router([protocol, *routes])
    served = router if around is None else around(router)
    return HttpApplication(served, endpoint, allowed, token, lifespan)


@contextlib.contextmanager
def _quiet_sessions() -> Generator[None]:
    """A block in which the names of sessions are not logged."""

    def is_quiet(record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or "ession" not in record.getMessage()

    with contextlib.ExitStack() as stack:
        for name in _TELL_SESSIONS:
            logger = logging.getLogger(name)
            logger.addFilter(is_quiet)
            stack.callback(logger.removeFilter, is_quiet)
        yield
