"""HTTP for components: ``wasi:http/outgoing-handler``, by the policy and the client of plugins."""

from __future__ import annotations

import importlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, final

import trio

from wasmpool._plain_nursery import open_plain_nursery
from wasmpool_host import host_function
from wasmpool_host.lowlevel import (
    WASI_HTTP_HANDLE,
    WasiHttpFailure,
    WasiHttpReply,
    wasi_http_handler,
)

from .policy import HttpPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from wasmpool_host import HostFunction
    from wasmpool_host.lowlevel import WasiHttpRequest

    from .client import Client

__all__ = ["WasiHttp", "open_wasi_http"]

_CONNECT: Final = "CONNECT"


@final
class WasiHttp:
    """HTTP for components; `open_wasi_http` makes it.

    Attributes:
        imports: for ``Component.compile(..., imports=...)``.
    """

    def __init__(self, policy: HttpPolicy, nursery: trio.Nursery) -> None:
        self._policy = policy
        self._nursery = nursery
        self._client: Client | None = None
        self._is_closed = False
        handle = wasi_http_handler(self._start, self._send)
        self.imports: tuple[HostFunction, ...] = (host_function(*WASI_HTTP_HANDLE)(handle),)

    def _start(self, task: Callable[..., Any], *args: Any) -> None:
        if self._is_closed:
            message = (
                "a component asks for HTTP, and the block of its open_wasi_http has ended: close"
                " the pool first"
            )
            raise RuntimeError(message)
        self._nursery.start_soon(task, *args)

    async def _send(self, request: WasiHttpRequest) -> WasiHttpReply:
        if request.method.upper() == _CONNECT:
            raise WasiHttpFailure("HTTP-request-method-invalid")
        seconds = self._policy.default_timeout if request.timeout is None else request.timeout
        with trio.move_on_after(min(seconds, self._policy.max_timeout)):
            return await self._exchange(request)
        raise WasiHttpFailure("HTTP-response-timeout")

    async def _exchange(self, request: WasiHttpRequest) -> WasiHttpReply:
        try:
            client = await self._open()
        except ModuleNotFoundError as missing:
            text = f'HTTP needs {missing.name}, which is not installed: "wasmpool[plugin]" has it'
            raise WasiHttpFailure("internal-error", text) from missing
        module = _client_module()
        try:
            reply = await client.request(request.method, request.url, request.headers, request.body)
        except module.Forbidden as why:
            raise WasiHttpFailure("HTTP-request-denied") from why
        except module.HttpFailure as why:
            raise WasiHttpFailure("internal-error", str(why)) from why
        headers = [(name.decode("latin-1"), value) for name, value in reply.headers]
        return WasiHttpReply(status=reply.status, headers=headers, body=reply.body)

    async def _open(self) -> Client:
        """Return the client. It is imported in a thread, so that nobody waits 60 ms for it."""
        if self._client is not None:
            return self._client
        module = await trio.to_thread.run_sync(_client_module)
        client: Client = self._client or module.Client(self._policy)
        self._client = client
        return client

    async def aclose(self) -> None:
        """End all requests, and close the connections."""
        self._is_closed = True
        self._nursery.cancel_scope.cancel()
        client, self._client = self._client, None
        if client is not None:
            with trio.CancelScope(shield=True):
                await client.aclose()


@asynccontextmanager
async def open_wasi_http(policy: HttpPolicy) -> AsyncGenerator[WasiHttp, None]:
    """Let components reach hosts by ``wasi:http``, within a policy.

    ::

        async with open_wasi_http(HttpPolicy(allow_hosts=["api.example.com"])) as http:
            component = await Component.compile(source, imports=http.imports)

    Without it, a component that imports ``wasi:http/outgoing-handler`` gets ``HTTP-request-denied``
    for each request. Redirects are followed, and each address is checked, as `HttpPolicy` says.

    A request is sent when the component has finished its body, of at most 16 MiB. It runs in a task
    of this block: the component goes on, and may have several under way. It ends with the future of
    its reply, so at the latest with the instance. It may take ``default_timeout``, or what the
    component asks for (``connect-timeout`` and ``first-byte-timeout`` together), at most
    ``max_timeout``.

    Args:
        policy: what the components may reach.

    Raises:
        TypeError: it is no `HttpPolicy`.

    At the end of the block all requests are cancelled, and the connections closed. A component that
    asks for another one then gets RuntimeError out of its call.
    """
    if not isinstance(policy, HttpPolicy):
        message = f"open_wasi_http takes an HttpPolicy(...), not {policy!r}"
        raise TypeError(message)
    async with open_plain_nursery() as nursery:
        http = WasiHttp(policy, nursery)
        try:
            yield http
        finally:
            await http.aclose()


def _client_module() -> Any:
    return importlib.import_module(".client", __package__)
