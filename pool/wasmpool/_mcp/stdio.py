"""The protocol over the standard streams: one message a line.

The SDK's own streams read in a thread that cannot be stopped, read lines of any length, and drop
what is no message. At the end of the input, the SDK cancels the calls under way. Here a line is
bounded, each wrong one is answered by an error of the protocol, and the end of the input is passed
on only when all requests are answered. If the client is gone, everything ends at once.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

import anyio
import attrs
import pydantic_core
import trio
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

from wasmpool._lines import LineSplitter

from .descriptors import claim_standard_streams

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from mcp_types import JSONRPCMessage, RequestId

    from wasmpool._lines import Line

    from .descriptors import DescriptorReader, DescriptorWriter
    from .endpoint import Endpoint

__all__ = ["MAX_LINE", "run_stdio", "serve_descriptors"]

_log = logging.getLogger("wasmpool.mcp")

MAX_LINE: Final = 4 << 20
"""Bytes of a message, as over HTTP."""
_MAX_OPEN: Final = 1_024
"""Requests without an answer: while there are more, no more are read. An endpoint refuses calls
before that, so this happens only if the client does not read its answers."""
_MAX_OPEN_BYTES: Final = 32 << 20
"""Of the requests without an answer, and of the answers that wait for the client to read."""
_FLUSH_SECONDS: Final = 5.0
"""That the client has to read the last answers after a shutdown."""


async def run_stdio(
    endpoint: Endpoint, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve one client over the standard streams.

    Returns when the input has ended and all requests are answered; when the client is gone; and
    when the endpoint is drained, and the answers are written or the client does not read them.
    """
    with claim_standard_streams() as (stdin, stdout):
        task_status.started()
        await serve_descriptors(endpoint, stdin, stdout)


async def serve_descriptors(
    endpoint: Endpoint, stdin: DescriptorReader, stdout: DescriptorWriter
) -> None:
    """`run_stdio`, over other descriptors."""
    send, receive = trio.open_memory_channel[bytes](0)
    unanswered = _Unanswered()
    requests = _Requests(endpoint, stdin, unanswered, send.clone())
    answers = _Answers(unanswered, send)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_broken, stdout, nursery.cancel_scope)
        nursery.start_soon(_end_when_drained, endpoint, requests, nursery.cancel_scope)
        async with trio.open_nursery() as writing:
            writing.start_soon(_write, receive, stdout, nursery.cancel_scope)
            await endpoint.server.run(requests, answers, endpoint.initialization)
        nursery.cancel_scope.cancel()


async def _cancel_when_broken(stdout: DescriptorWriter, scope: trio.CancelScope) -> None:
    await stdout.wait_until_broken()
    _log.info("the client is gone")
    scope.cancel()


async def _write(
    messages: trio.MemoryReceiveChannel[bytes], stdout: DescriptorWriter, scope: trio.CancelScope
) -> None:
    """Write the messages, each as a whole: a request that is cancelled must not tear its answer."""
    try:
        async with messages:
            async for message in messages:
                await stdout.send_all(message)
    except trio.BrokenResourceError as error:
        _log.info("the client is gone: %s", error)
        scope.cancel()


async def _end_when_drained(
    endpoint: Endpoint, requests: _Requests, scope: trio.CancelScope
) -> None:
    await endpoint.drained.wait()
    requests.end()
    await trio.sleep(_FLUSH_SECONDS)
    scope.cancel()


@final
class _Unanswered:
    """The requests that have no answer yet, and the answers that are not written yet."""

    # Invariant: `_bytes` is the sum of all numbers in `_sizes`, and of the answers that wait.

    def __init__(self) -> None:
        self._count = 0
        self._bytes = 0
        self._sizes: dict[RequestId | None, list[int]] = {}  # a client may use an id twice
        self._fewer = trio.Event()

    def add(self, id_: RequestId, size: int) -> None:
        """A request with so many bytes has come."""
        self._count += 1
        self._bytes += size
        self._sizes.setdefault(id_, []).append(size)

    async def remove(self, id_: RequestId | None) -> None:
        """It has its answer, or gets none."""
        await trio.lowlevel.checkpoint()
        self._count -= 1
        sizes = self._sizes.get(id_)
        if sizes:
            self._bytes -= sizes.pop()
            if not sizes:
                del self._sizes[id_]
        self._fewer.set()

    @contextmanager
    def answer_waits(self, size: int) -> Iterator[None]:
        """A block in which an answer of so many bytes waits to be written."""
        self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size
            self._fewer.set()

    async def wait_for_room(self) -> None:
        """Wait until one more can be read."""
        while self._count > _MAX_OPEN or self._bytes > _MAX_OPEN_BYTES:
            await self._wait_for_fewer()

    async def wait_for_none(self) -> None:
        """Wait until all have their answers."""
        while self._count:
            await self._wait_for_fewer()

    async def _wait_for_fewer(self) -> None:
        self._fewer = trio.Event()
        await self._fewer.wait()


class _Closable(ABC):
    """What both streams have as the SDK's protocols want it."""

    @abstractmethod
    async def aclose(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.aclose()


@final
class _Requests(_Closable):
    """The messages of the client, as the SDK reads them."""

    def __init__(
        self,
        endpoint: Endpoint,
        stdin: DescriptorReader,
        unanswered: _Unanswered,
        errors: trio.MemorySendChannel[bytes],
    ) -> None:
        self._endpoint = endpoint
        self._stdin = stdin
        self._unanswered = unanswered
        self._errors = errors
        self._splitter = LineSplitter(MAX_LINE)
        self._lines: Iterator[Line] = iter(())
        self._reading = trio.CancelScope()
        self._has_ended = False

    def end(self) -> None:
        """Read no more, as if the input had ended."""
        self._has_ended = True
        self._reading.cancel()

    async def __anext__(self) -> SessionMessage | Exception:
        while True:
            await self._unanswered.wait_for_room()
            line = await self._next_line()
            if line is None:
                self._endpoint.end_subscriptions()
                await self._unanswered.wait_for_none()
                raise StopAsyncIteration
            message = _parse(line)
            if isinstance(message, _Refusal):
                await self._errors.send(_encode(message.answer))
            elif isinstance(message, JSONRPCRequest):
                self._unanswered.add(message.id, line.size)
                remove = partial(self._unanswered.remove, message.id)
                settled = ServerMessageMetadata(on_request_unanswered=remove)
                return SessionMessage(message, settled)
            elif message is not None:
                return SessionMessage(message)

    async def _next_line(self) -> Line | None:
        """Return the next line; None at the end."""
        while (line := next(self._lines, None)) is None and not self._has_ended:
            with trio.CancelScope() as self._reading:
                data = await self._stdin.receive_some()
                self._has_ended = not data
                self._lines = self._splitter.feed(data) if data else self._splitter.end()
        return line

    # --- the rest of the SDK's protocol of a stream ---

    def __aiter__(self) -> Self:
        return self

    async def receive(self) -> SessionMessage | Exception:
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    async def aclose(self) -> None:
        self._errors.close()  # no checkpoint: the SDK's own clean-up follows


@final
class _Answers(_Closable):
    """The messages to the client, as the SDK writes them."""

    def __init__(self, unanswered: _Unanswered, messages: trio.MemorySendChannel[bytes]) -> None:
        self._unanswered = unanswered
        self._messages = messages

    async def send(self, item: SessionMessage, /) -> None:
        message = _encode(item.message)
        try:
            with self._unanswered.answer_waits(len(message)):
                await self._messages.send(message)
        except trio.BrokenResourceError:
            raise anyio.BrokenResourceError from None
        if isinstance(item.message, JSONRPCResponse | JSONRPCError):
            await self._unanswered.remove(item.message.id)

    async def aclose(self) -> None:
        self._messages.close()


def _encode(message: JSONRPCMessage) -> bytes:
    return message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"


@final
@attrs.frozen
class _Refusal:
    """What is said about a line that is no message."""

    answer: JSONRPCError


def _parse(line: Line) -> JSONRPCMessage | _Refusal | None:
    """Return a line's message, or what refuses it; None for a blank line."""
    if line.too_long:
        problem = f"a message of {line.size:,} bytes is above the limit of {MAX_LINE:,}"
        return _refusal(PARSE_ERROR, problem)
    if not line.content.strip():
        return None
    try:
        value = pydantic_core.from_json(line.content)
    except ValueError as wrong:
        return _refusal(PARSE_ERROR, f"it is not JSON: {wrong}")
    try:
        message = jsonrpc_message_adapter.validate_python(value, by_name=False)
    except ValidationError:
        return _refusal(INVALID_REQUEST, "it is no message of JSON-RPC 2.0", _id_of(value))
    if isinstance(message, JSONRPCNotification) and "id" in value:
        return _refusal(INVALID_REQUEST, "an id must be a string or a whole number")
    return message


def _id_of(value: Any) -> RequestId | None:
    given = value.get("id") if type(value) is dict else None
    return given if type(given) in (str, int) else None


def _refusal(code: int, message: str, id_: RequestId | None = None) -> _Refusal:
    error = ErrorData(code=code, message=message)
    return _Refusal(JSONRPCError(jsonrpc="2.0", id=id_, error=error))
