"""One client over a pair of pipes, in the test's own process."""

from __future__ import annotations

import contextlib
import json
import os
import random
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCResponse
from tests.mcp.serving import call_request

import wasmpool
from wasmpool._mcp import stdio
from wasmpool._mcp.catalog import Catalog
from wasmpool._mcp.descriptors import DescriptorReader, DescriptorWriter
from wasmpool._mcp.endpoint import Endpoint, open_endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from tests.mcp.busy_plugin import BusyPlugin

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "by hand", "version": "1"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


class Client:
    """The other end of the pipes."""

    def __init__(self, stdin: int, stdout: int, endpoint: Endpoint) -> None:
        self.stdin = trio.lowlevel.FdStream(stdin)
        self.stdout = trio.lowlevel.FdStream(stdout)
        self.endpoint = endpoint
        self.ended = trio.Event()
        self._rest = b""

    async def send(self, *messages: dict[str, Any] | bytes) -> None:
        for message in messages:
            line = message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n"
            await self.stdin.send_all(line)

    async def receive(self) -> dict[str, Any]:
        """The next message."""
        while b"\n" not in self._rest:
            data = await self.stdout.receive_some()
            assert data, "the output has ended"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    async def rest(self) -> bytes:
        """What comes until the output ends."""
        return self._rest + b"".join([data async for data in self.stdout])

    async def ask(self, *messages: dict[str, Any] | bytes) -> dict[str, Any]:
        await self.send(*messages)
        return await self.receive()


@contextlib.asynccontextmanager
async def over_pipes(loader: wasmpool.Loader) -> AsyncGenerator[Client]:
    """Serve a loader over a pair of pipes."""
    their_stdin, our_stdin = os.pipe()
    our_stdout, their_stdout = os.pipe()
    async with open_endpoint(Catalog(loader)) as endpoint:
        client = Client(our_stdin, our_stdout, endpoint)

        async def serve() -> None:
            reader, writer = DescriptorReader(their_stdin), DescriptorWriter(their_stdout)
            try:
                await stdio.serve_descriptors(endpoint, reader, writer)
            finally:
                os.close(their_stdin)
                os.close(their_stdout)
                client.ended.set()

        async with trio.open_nursery() as nursery, client.stdin, client.stdout:
            nursery.start_soon(serve)
            yield client
            nursery.cancel_scope.cancel()


def text(message: dict[str, Any]) -> str:
    """The text of a call's result."""
    found = message["result"]["content"][0]["text"]
    assert isinstance(found, str)
    return found


async def test_the_end_of_the_input_is_not_the_end_of_the_calls(
    busy: wasmpool.Loader, plugin: BusyPlugin, until: Until
) -> None:
    """All requests are answered first, and then the server ends."""
    async with over_pipes(busy) as client:
        for number in range(8):
            await client.send(call_request("wait", {}, number))
        await client.stdin.aclose()
        await until(lambda: plugin.waiting == 8)
        await trio.testing.wait_all_tasks_blocked()
        assert not client.ended.is_set()
        plugin.go.set()
        answers = [await client.receive() for _ in range(8)]
        await client.ended.wait()
        assert not await client.rest()
    assert {answer["id"] for answer in answers} == set(range(8))
    assert {text(answer) for answer in answers} == {"wait {}"}


async def test_a_client_that_is_gone_ends_its_calls(
    busy: wasmpool.Loader, plugin: BusyPlugin, until: Until
) -> None:
    """Both pipes are closed, as by a process that is killed."""
    async with over_pipes(busy) as client:
        await client.send(call_request("spin", {}, 1), call_request("wait", {}, 2))
        await until(lambda: plugin.leased() == 2)
        await client.stdin.aclose()
        await client.stdout.aclose()
        await client.ended.wait()
        assert plugin.leased() == 0


async def test_a_client_that_closes_what_it_reads_is_gone(busy: wasmpool.Loader) -> None:
    """Nothing can be answered any more, although more could be read."""
    async with over_pipes(busy) as client:
        await client.stdout.aclose()
        await client.ended.wait()


@pytest.mark.parametrize("era", ["2025", "2026"])
async def test_a_cancelled_request_frees_its_instance(
    busy: wasmpool.Loader, plugin: BusyPlugin, until: Until, era: str
) -> None:
    """It is not answered; other requests are, and the end of the input ends the server."""
    async with over_pipes(busy) as client:
        calls = [call_request("spin", {}, 1), call_request("say", {"word": "x"}, 2)]
        if era == "2025":
            assert (await client.ask(INITIALIZE))["result"]["protocolVersion"] == "2025-11-25"
            await client.send(INITIALIZED)
            for call in calls:
                del call["params"]["_meta"]
        await client.send(calls[0])
        await until(lambda: plugin.leased() == 1)
        cancelled = {"method": "notifications/cancelled", "params": {"requestId": 1}}
        answer = await client.ask({"jsonrpc": "2.0", **cancelled}, calls[1])
        assert (answer["id"], text(answer)) == (2, "say {'word': 'x'}")
        await until(lambda: plugin.leased() == 0)
        await client.stdin.aclose()
        await client.ended.wait()
        assert not await client.rest()


async def test_a_drained_endpoint_ends_the_server(
    busy: wasmpool.Loader, plugin: BusyPlugin, until: Until
) -> None:
    """A new call is refused, the one under way is answered, and the input need not end."""
    async with over_pipes(busy) as client, trio.open_nursery() as nursery:
        await client.send(call_request("wait", {}, 1))
        await until(lambda: plugin.waiting == 1)
        nursery.start_soon(client.endpoint.drain, 60)
        await client.endpoint.draining.wait()
        refused = await client.ask(call_request("say", {"word": "x"}, 2))
        assert (refused["id"], refused["result"]["isError"]) == (2, True)
        assert text(refused) == "the server shuts down: it takes no new calls"
        plugin.go.set()
        assert text(await client.receive()) == "wait {}"
        await client.ended.wait()


async def test_a_drain_without_grace_answers(
    busy: wasmpool.Loader, plugin: BusyPlugin, until: Until
) -> None:
    """A call that is cut off has an answer all the same."""
    async with over_pipes(busy) as client:
        await client.send(call_request("spin", {}))
        await until(lambda: plugin.leased() == 1)
        await client.endpoint.drain(0)
        assert plugin.leased() == 0
        answer = await client.receive()
        assert text(answer) == "the server has shut down before the call ended"
        await client.ended.wait()


@pytest.mark.parametrize(
    ("line", "code", "problem"),
    [
        (b"{broken", -32700, "it is not JSON"),
        (b"[" * 100_000, -32700, "it is not JSON"),
        (b'{"jsonrpc": "2.0", "method": "\xff"}', -32700, "it is not JSON"),
        (b"\x00", -32700, "it is not JSON"),
        (b"null", -32600, "it is no message of JSON-RPC 2.0"),
        (b"[]", -32600, "it is no message of JSON-RPC 2.0"),
        (b'{"jsonrpc": "1.0", "id": 7, "method": "x"}', -32600, "it is no message"),
        (b'{"id": 7, "method": 3}', -32600, "it is no message"),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', -32600, "an id must be a string or"),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', -32600, "an id must be a string or"),
        (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', -32600, "an id must be a string or"),
        (b"x" * (stdio.MAX_LINE + 1), -32700, "is above the limit of 4,194,304"),
    ],
)
async def test_a_line_that_is_no_message(
    busy: wasmpool.Loader, line: bytes, code: int, problem: str
) -> None:
    """It is answered by an error of the protocol, with its id if it has one; the server goes on."""
    async with over_pipes(busy) as client:
        answer = await client.ask(line + b"\n")
        assert answer["error"]["code"] == code
        assert problem in answer["error"]["message"]
        assert answer["id"] == (7 if b"7" in line else None)
        ended = await client.ask(b"\n", b"  \n", call_request("say", {"word": "x"}, 1))
        assert text(ended) == "say {'word': 'x'}"


async def test_an_error_of_the_client_is_not_sent_back(busy: wasmpool.Loader) -> None:
    """It answers no request of the server, so it is dropped."""
    error = b'{"jsonrpc": "2.0", "id": "x", "error": {"code": 1, "message": "x"}}\n'
    async with over_pipes(busy) as client:
        answer = await client.ask(error, call_request("say", {"word": "x"}, 1))
        assert answer["id"] == 1


async def test_a_line_of_a_hundred_megabytes(busy: wasmpool.Loader) -> None:
    """It is not kept in memory."""
    async with over_pipes(busy) as client:
        piece = b"x" * (1 << 20)
        for _ in range(100):
            await client.send(piece)
        answer = await client.ask(b"\n")
        assert "a message of 104,857,601 bytes" in answer["error"]["message"]


async def test_half_a_line_at_the_end(busy: wasmpool.Loader) -> None:
    """A message needs no line break if the input ends; half a one is an error."""
    for line, key in ((json.dumps(call_request("nap", {})).encode(), "result"), (b"{", "error")):
        async with over_pipes(busy) as client:
            await client.send(line)
            await client.stdin.aclose()
            assert key in await client.receive()
            await client.ended.wait()


def garbage(random_: random.Random) -> bytes:
    """A line with something wrong."""
    message = call_request("say", {"word": "x"}, random_.choice([1, "a", 10**30, -1]))
    strange: list[Any] = [None, True, 1.5, [], {}, "x" * 1_000, [[]], {"a": {}}, "tools/list"]
    place = random_.choice([message, message["params"], message["params"]["_meta"]])
    place[random_.choice([*place])] = random_.choice(strange)
    valid = json.dumps(message).encode()
    at = random_.randrange(len(valid))
    return random_.choice(
        [
            valid,
            valid[:at],
            valid[:at] + random_.randbytes(3).replace(b"\n", b"") + valid[at:],
            random_.randbytes(100).replace(b"\n", b""),
            b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":%s}' % valid[:at],
            b'{"jsonrpc":"2.0","id":1,"result":{}}',
            b'{"jsonrpc":"2.0","method":"initialize","id":2,"params":{}}',
            b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}',
        ]
    )


async def test_a_thousand_lines_of_garbage(busy: wasmpool.Loader) -> None:
    """The server goes on, and ends as ever."""
    random_ = random.Random(15)
    async with over_pipes(busy) as client, trio.open_nursery() as nursery:
        received: list[dict[str, Any]] = []

        @nursery.start_soon
        async def receive() -> None:
            while not received or received[-1].get("id") != "last":
                received.append(await client.receive())

        await client.send(call_request("say", {"word": "x"}, 1))
        for _ in range(1_000):
            await client.send(garbage(random_) + b"\n")
        last = {**call_request("say", {"word": "last"}), "id": "last"}
        await client.send(last)
    assert text(received[-1]) == "say {'word': 'last'}"
    assert len(received) > 500


async def test_a_client_that_does_not_read(
    busy: wasmpool.Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more of its requests are read than can be open; it is answered when it reads again."""
    monkeypatch.setattr(stdio, "_MAX_OPEN", 10)
    await _send_without_reading(busy, many=500)


async def test_a_client_that_does_not_read_megabytes(
    busy: wasmpool.Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more of its bytes are kept than can be open; it is answered when it reads again."""
    monkeypatch.setattr(stdio, "_MAX_OPEN_BYTES", 10_000)
    opened: list[int] = []
    add = stdio._Unanswered.add

    def counting(unanswered: stdio._Unanswered, id_: Any, size: int) -> None:
        add(unanswered, id_, size)
        opened.append(unanswered._count)

    monkeypatch.setattr(stdio._Unanswered, "add", counting)
    await _send_without_reading(busy, many=2_000)
    assert 5 < max(opened) < 20


async def test_answers_that_nobody_reads_count_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small request may have a large answer."""
    monkeypatch.setattr(stdio, "_MAX_OPEN_BYTES", 10_000)
    unanswered = stdio._Unanswered()
    send, receive = trio.open_memory_channel[bytes](0)
    answers = stdio._Answers(unanswered, send)
    answer = JSONRPCResponse(jsonrpc="2.0", id=1, result={"text": "x" * 10_000})
    unanswered.add(1, 50)
    has_room = trio.Event()

    async def wait_for_room() -> None:
        await unanswered.wait_for_room()
        has_room.set()

    async with receive, trio.open_nursery() as nursery:
        nursery.start_soon(answers.send, SessionMessage(answer))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(wait_for_room)
        await trio.testing.wait_all_tasks_blocked()
        assert not has_room.is_set()
        assert len(await receive.receive()) > 10_000
        await has_room.wait()


async def _send_without_reading(busy: wasmpool.Loader, many: int) -> None:
    async with over_pipes(busy) as client, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            for number in range(many):
                await client.send({**call_request("x" * 1_000, {}, number)})

        await trio.testing.wait_all_tasks_blocked(0.01)
        answered = {(await client.receive())["id"] for _ in range(many)}
    assert answered == set(range(many))


LIST_CHANGED = "notifications/tools/list_changed"


def _in_2026(method: str, number: int, **params: Any) -> dict[str, Any]:
    request = call_request("x", {}, number)
    meta = request["params"]["_meta"]
    return {**request, "method": method, "params": {**params, "_meta": meta}}


async def _change_nothing(loader: wasmpool.Loader, example: Path) -> None:
    """A reload with the same tools, and a load that fails, which the loader tells of."""
    await loader.load(example)
    with pytest.raises(wasmpool.CompileError):
        await loader.load(b"broken", "broken")
    await trio.testing.wait_all_tasks_blocked()


async def test_a_change_of_the_list_in_2025(busy: wasmpool.Loader, example: Path) -> None:
    """The client is told when a load or an unload changes the list, and not if nothing changes."""
    async with over_pipes(busy) as client:
        await client.ask(INITIALIZE)
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        assert (await client.ask(INITIALIZED, ping))["result"] == {}
        await busy.load(example)
        assert (await client.receive())["method"] == LIST_CHANGED
        await _change_nothing(busy, example)
        assert (await client.ask(ping))["result"] == {}
        await busy.unload("example")
        assert (await client.receive())["method"] == LIST_CHANGED


async def test_a_change_of_the_list_in_2026(busy: wasmpool.Loader, example: Path) -> None:
    """A subscription tells of it, and ends with the input."""
    async with over_pipes(busy) as client:
        wanted = {"toolsListChanged": True}
        listen = _in_2026("subscriptions/listen", 5, notifications=wanted)
        assert "acknowledged" in (await client.ask(listen))["method"]
        await busy.load(example)
        told = await client.receive()
        assert told["method"] == LIST_CHANGED
        assert told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == 5
        await _change_nothing(busy, example)
        listed = (await client.ask(_in_2026("tools/list", 6)))["result"]["tools"]
        assert {"say", "echo"} <= {tool["name"] for tool in listed}
        await client.stdin.aclose()
        assert (await client.receive())["id"] == 5
        await client.ended.wait()
