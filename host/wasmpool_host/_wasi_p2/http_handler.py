"""``wasi:http/outgoing-handler``, for a library that sends the requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from wasmpool_host._wit_values import Err, Ok, Variant

from .failure import Unsuccessful, check_class
from .http_types import FutureIncomingResponse, OutgoingRequest, RequestOptions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wasmpool_host._instance.caller import Caller

    from .http_fields import Entries

__all__ = [
    "WASI_HTTP_HANDLE",
    "WasiHttpFailure",
    "WasiHttpReply",
    "WasiHttpRequest",
    "wasi_http_handler",
]

WASI_HTTP_HANDLE: Final = ("wasi:http/outgoing-handler@0.2.0", "handle")
"""The interface and the name of the function."""

_MOST_TEXT: Final = 2_000  # characters; a reason may quote a server
_SECOND: Final = 1_000_000_000  # nanoseconds


@attrs.frozen(kw_only=True)
class WasiHttpRequest:
    """A whole request of a component."""

    method: str
    """In capitals, but for one of the component's own."""
    url: str
    """http or https."""
    headers: list[tuple[str, bytes]]
    """Valid in HTTP; none of the connection, and no Host."""
    body: bytes
    timeout: float | None
    """Seconds in which the component expects the first byte of a reply, if it says."""


@attrs.frozen(kw_only=True)
class WasiHttpReply:
    """A whole reply."""

    status: int
    headers: list[tuple[str, bytes]]
    body: bytes


class WasiHttpFailure(Exception):
    """There is no reply.

    Attributes:
        case: of ``error-code`` in ``wasi:http/types``; one without a value, or ``internal-error``.
        text: why, for the component's author; only ``internal-error`` passes it on.
    """

    def __init__(self, case: str, text: str = "") -> None:
        super().__init__(case, text)
        self.case: str = case
        self.text: str = text


def wasi_http_handler(
    start: Callable[..., None], send: Callable[[WasiHttpRequest], Awaitable[WasiHttpReply]]
) -> Callable[..., Any]:
    """Make the host function ``handle``.

    Args:
        start: starts a task, as `trio.Nursery.start_soon`. It raises RuntimeError where that is not
            possible any more.
        send: sends a request, and returns the reply or raises `WasiHttpFailure`. It is cancelled
            when the component drops the future of the reply, or is closed.
    """

    def handle(_caller: Caller, request: OutgoingRequest, options: RequestOptions | None) -> Any:
        check_class(request, OutgoingRequest)
        if options is not None:
            check_class(options, RequestOptions)
        try:
            url = request.url
        except Unsuccessful as error:
            return Err(error.value)
        future = FutureIncomingResponse(request.memory)
        start(_serve, send, request, url, _timeout(options), future)
        return Ok(future)

    return handle


async def _serve(
    send: Callable[[WasiHttpRequest], Awaitable[WasiHttpReply]],
    request: OutgoingRequest,
    url: str,
    seconds: float | None,
    future: FutureIncomingResponse,
) -> None:
    """Send one request when the component has written it, and keep the reply for it."""
    try:
        with future.scope:
            body = await request.read_body()
            async with request.memory.sending:
                reply = await send(
                    WasiHttpRequest(
                        method=request.verb,
                        url=url,
                        headers=_headers(request),
                        body=body,
                        timeout=seconds,
                    )
                )
            future.answer(reply.status, reply.headers, reply.body)
    except Unsuccessful as error:
        future.fail(error.value)
    except WasiHttpFailure as error:
        future.fail(_code(error))
    finally:
        if not future.is_done:  # cancelled, by the component or by the host
            future.fail(Variant("connection-terminated"))


def _headers(request: OutgoingRequest) -> Entries:
    # The length is that of the body, which is whole: `OutgoingBody.finish` has compared them.
    entries = request.headers().entries()
    return [(name, value) for name, value in entries if name.lower() != "content-length"]


def _timeout(options: RequestOptions | None) -> float | None:
    if options is None or options.first_byte_timeout() is None:
        return None
    first = options.first_byte_timeout() or 0
    return ((options.connect_timeout() or 0) + first) / _SECOND


def _code(error: WasiHttpFailure) -> Variant:
    if error.case == "internal-error":
        return Variant(error.case, error.text[:_MOST_TEXT])
    return Variant(error.case)
