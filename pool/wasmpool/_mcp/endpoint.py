"""What all clients of a loader talk to, whatever they are connected by.

An `Endpoint` answers the requests of the protocol, by the low-level server of the official SDK,
which speaks both of its revisions: the one with a handshake, and the one in which each request
stands alone. It tells clients when the list of tools has changed, in both ways, and knows the calls
under way, so that a shutdown can wait for them.
"""

from __future__ import annotations

import contextlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, final

import mcp_types
import trio
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from wasmpool._plain_nursery import open_plain_nursery

from .client_gone import unless_gone
from .failure import refusal
from .page import page
from .reply import as_call_result
from .tool_set import new_tool_set

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from mcp.server.connection import Connection
    from mcp.server.context import ServerRequestContext
    from mcp.server.models import InitializationOptions

    from wasmpool._plugin.tool_result import ToolResult

    from .catalog import Catalog
    from .tool_set import Mode, Scripts

__all__ = ["MAX_CALLS", "Endpoint", "open_endpoint"]

MAX_CALLS: Final = 512
"""Calls under way; more are refused. A pool's own bound is ``max_waiting``."""
_MAX_LISTENERS: Final = 256
"""Clients that have subscribed to changes of the list."""
_NOTIFY_SECONDS: Final = 5.0
"""That a connection has to take a notification. A client that does not read it reads none."""


@contextlib.asynccontextmanager
async def open_endpoint(
    catalog: Catalog, *, mode: Mode = "plain", scripts: Scripts | None = None
) -> AsyncGenerator[Endpoint]:
    """Serve the tools of a catalog for the length of the block.

    Args:
        catalog: the tools.
        mode: "plain" lists them as they are; "search" lists two tools, which find and call them.
        scripts: runs scripts that call tools, if clients may send any.

    The end of the block cancels the calls under way; `Endpoint.drain` before it does not.
    """
    endpoint = Endpoint(catalog, mode=mode, scripts=scripts)
    async with endpoint.running():
        yield endpoint


@final
class Endpoint:
    """What all clients of a loader talk to; `open_endpoint` makes it.

    Attributes:
        catalog: the tools.
        server: the SDK's server, for transports.
        draining: set when new calls begin to be refused.
        drained: set when the last call has ended after that.
    """

    # Invariant: `_connections` has the open connections with a handshake that is complete.

    def __init__(
        self, catalog: Catalog, *, mode: Mode = "plain", scripts: Scripts | None = None
    ) -> None:
        self.catalog: Final = catalog
        self.draining: Final = trio.Event()
        self.drained: Final = trio.Event()
        self._tools: Final = new_tool_set(catalog, mode, scripts)
        self._nursery: trio.Nursery | None = None
        self._calls: Final[set[trio.CancelScope]] = set()
        self._call_ended = trio.Event()
        self._connections: Final[dict[Connection, _Notice]] = {}
        self._bus: Final = InMemorySubscriptionBus()
        self._listeners: Final = ListenHandler(self._bus, max_subscriptions=_MAX_LISTENERS)
        self.server: Final = self._new_server()

    def __repr__(self) -> str:
        state = "drained" if self.drained.is_set() else "draining"
        state = state if self.draining.is_set() else "open"
        return f"<Endpoint {state}: {self.calls} calls, {len(self._tools.list())} tools>"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """A block in which it serves, as that of `open_endpoint`; once."""
        async with open_plain_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self._watch)
            try:
                yield
            finally:
                self.abort()
                nursery.cancel_scope.cancel()

    @property
    def calls(self) -> int:
        """How many calls are under way."""
        return len(self._calls)

    @property
    def initialization(self) -> InitializationOptions:
        """What a client with a handshake is told."""
        return self.server.create_initialization_options(NotificationOptions(tools_changed=True))

    async def call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Call a tool; every failure is a result with ``is_error``."""
        if self.draining.is_set():
            return refusal("the server shuts down: it takes no new calls")
        if len(self._calls) >= MAX_CALLS:
            return refusal(f"the server is busy: {MAX_CALLS} calls are under way")
        with trio.CancelScope() as scope:
            self._calls.add(scope)
            try:
                return await self._tools.call(name, arguments)
            finally:
                self._calls.remove(scope)
                self._call_ended.set()
        return refusal("the server has shut down before the call ended")

    async def drain(self, grace: float) -> None:
        """Refuse new calls, give those under way some seconds, and cancel the rest.

        Returns when no call is under way. Their answers may still have to be written.
        """
        self.draining.set()
        with trio.move_on_after(grace):
            await self._wait_for_calls()
        for call in self._calls:
            call.cancel()
        with trio.CancelScope(shield=True):  # a guest ends within milliseconds
            await self._wait_for_calls()
        self._end()

    def abort(self) -> None:
        """Refuse new calls, and cancel those under way."""
        self.draining.set()
        for call in self._calls:
            call.cancel()
        self._end()

    def end_subscriptions(self) -> None:
        """Let each subscription to changes of the list end, with its answer."""
        self._listeners.close()

    def _end(self) -> None:
        self.end_subscriptions()
        self.drained.set()

    async def _wait_for_calls(self) -> None:
        while self._calls:
            self._call_ended = trio.Event()
            await self._call_ended.wait()

    # --- requests ---

    def _new_server(self) -> Server[Any]:
        server: Server[Any] = Server(
            "wasmpool",
            version=version("wasmpool"),
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_subscriptions_listen=self._listeners,
            get_tool_input_schema=self._input_schema,
        )
        server.add_notification_handler(
            "notifications/initialized", mcp_types.NotificationParams, self._initialized
        )
        return server

    async def _list_tools(
        self, _: ServerRequestContext[Any], params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListToolsResult:
        await trio.lowlevel.checkpoint()
        return page(self._tools.list(), params.cursor if params is not None else None)

    async def _call_tool(
        self, context: ServerRequestContext[Any], params: mcp_types.CallToolRequestParams
    ) -> mcp_types.CallToolResult:
        call = self.call(params.name, params.arguments or {})
        result = await unless_gone(context.request, call)
        return as_call_result(result or refusal("the client is gone"))

    def _input_schema(self, name: str) -> Mapping[str, Any] | None:
        tool = self._tools.list().get(name)
        return None if tool is None else tool.input_schema

    # --- changes of the list ---

    async def _initialized(
        self, context: ServerRequestContext[Any], _: mcp_types.NotificationParams
    ) -> None:
        await trio.lowlevel.checkpoint()
        connection = context.session._connection  # noqa: SLF001 - no public name says when it ends
        if connection.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return  # such a client subscribes
        if connection not in self._connections:
            self._connections[connection] = _Notice()
            connection.exit_stack.callback(self._connections.pop, connection, None)

    async def _watch(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Tell clients when the list has changed."""
        async with self.catalog.loader.changes() as changes:
            listed = self._tools.list()
            task_status.started()
            async for _ in changes:
                now = self._tools.list()
                if now is not listed and now != listed:
                    await self._publish()
                listed = now

    async def _publish(self) -> None:
        assert self._nursery is not None
        await self._bus.publish(ToolsListChanged())
        for connection, notice in self._connections.items():
            notice.is_due = True
            if not notice.is_being_sent:
                notice.is_being_sent = True
                self._nursery.start_soon(_notify, connection, notice)


@final
class _Notice:
    """The notification of a connection that its list of tools has changed."""

    def __init__(self) -> None:
        self.is_due = False
        self.is_being_sent = False


async def _notify(connection: Connection, notice: _Notice) -> None:
    try:
        while notice.is_due:
            notice.is_due = False
            with trio.move_on_after(_NOTIFY_SECONDS):
                await connection.send_tool_list_changed()
    finally:
        notice.is_being_sent = False
