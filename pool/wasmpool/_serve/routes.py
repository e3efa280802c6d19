"""The routes for those who operate a server: ``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol

from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from .metrics import CONTENT_TYPE, merged_metrics
from .readiness import merged_readiness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

__all__ = ["Ask", "operating_routes"]

_NO_STORE: Final = {"Cache-Control": "no-store"}


class Ask(Protocol):
    """Asks all workers, or the one process that there is, for a report."""

    async def __call__(self, kind: str, /) -> Mapping[str, Any]:
        """Return the reports by worker; None for one that does not answer."""
        ...


def operating_routes(ask: Ask) -> Sequence[Route]:
    """Return the routes; a report is ``readiness`` or ``metrics``."""

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("alive\n", headers=_NO_STORE)

    async def readyz(_request: Request) -> Response:
        answer = merged_readiness(await ask("readiness"))
        text = json.dumps(answer, indent=1)
        status = 200 if answer["ready"] else 503
        return Response(f"{text}\n", status, _NO_STORE, "application/json")

    async def metrics(_request: Request) -> Response:
        return Response(
            merged_metrics(await ask("metrics")), headers=_NO_STORE, media_type=CONTENT_TYPE
        )

    return (Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics))
