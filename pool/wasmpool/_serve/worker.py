"""What a supervisor has started, in a process or a thread: it serves until its channel ends."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, final

import trio

from .channel import Channel
from .config_file import Arguments, build_config
from .log import WORKER, show_log
from .server import open_server
from .session_router import SessionRouter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .config import Config
    from .server import Server

__all__ = ["main", "serve_in_thread"]

_log = logging.getLogger("wasmpool.serve")


def main() -> None:
    """Serve in a process: the arguments are its number, and the descriptors of its sockets."""
    number, channel, *sockets = map(int, sys.argv[1:])
    show_log(_prefix(number))
    try:
        trio.run(
            _serve,
            number,
            socket.socket(fileno=channel),
            [socket.socket(fileno=each) for each in sockets],
        )
    except Exception as error:  # noqa: BLE001 - as one line; the supervisor replaces the process
        _log.critical("unexpected", exc_info=error)
        sys.exit(1)


async def serve_in_thread(
    number: int, end: socket.socket, sockets: Sequence[socket.socket]
) -> bool:
    """Serve in a thread of the supervisor's process; return False after an error, which is logged.

    Args:
        number: of the worker.
        end: of its channel to the supervisor.
        sockets: which listen; the caller closes them, and ``end``.
    """
    WORKER.set(_prefix(number))
    try:
        await _serve(number, end, sockets, in_thread=True)
    except Exception as error:  # noqa: BLE001 - as one line; the supervisor replaces the worker
        _log.critical("unexpected", exc_info=error)
        return False
    return True


def _prefix(number: int) -> str:
    return f"worker {number}: "


async def _serve(
    number: int, end: socket.socket, sockets: Sequence[socket.socket], *, in_thread: bool = False
) -> None:
    channel = Channel(end)
    message = await channel.receive()
    if message is None:
        return
    of_process = not in_thread or number == 1  # once, of all threads
    async with trio.open_nursery() as nursery:
        worker = _Worker(number, channel)
        nursery.start_soon(worker.listen, nursery.cancel_scope)
        if not in_thread:
            nursery.start_soon(_end_after_sigterm, worker, nursery.cancel_scope)
        async with open_server(_config(message), measures_process=of_process) as server:
            worker.open(server)
            await server.load()
            own = socket.create_server(("127.0.0.1", 0))
            await worker.make_known(own)
            await server.run_http([*sockets, own], worker.ask, worker.router)
        nursery.cancel_scope.cancel()


def _config(message: dict[str, Any]) -> Config:
    content = message["content"]
    arguments = Arguments.of_json(message["arguments"])
    return build_config(arguments, None if content is None else content.encode())


async def _end_after_sigterm(worker: _Worker, scope: trio.CancelScope) -> None:
    """End with a grace after a SIGTERM to this worker alone; it is replaced."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            await worker.drain(scope)


@final
class _Worker:
    """This worker, as it talks to the supervisor.

    Attributes:
        router: finds the worker that has a session.
    """

    def __init__(self, number: int, channel: Channel) -> None:
        self.router = SessionRouter(number)
        self._channel = channel
        self._server: Server | None = None
        self._is_open = trio.Event()
        self._is_known = trio.Event()
        self._questions = 0
        self._answers: dict[int, trio.MemorySendChannel[Any]] = {}

    async def make_known(self, listener: socket.socket) -> None:
        """Wait until the other workers know where to pass on requests for sessions of this one."""
        port = listener.getsockname()[1]
        await self._channel.send({"say": "serves", "key": self.router.key, "port": port})
        await self._is_known.wait()

    async def ask(self, kind: str, /) -> Mapping[str, Any]:
        """Ask for the reports of all workers."""
        self._questions += 1
        question = self._questions
        answered, answer = trio.open_memory_channel[Any](1)
        self._answers[question] = answered
        try:
            await self._channel.send({"say": "ask", "id": question, "kind": kind})
            reports: Mapping[str, Any] = await answer.receive()
            return reports
        finally:
            self._answers.pop(question, None)

    def open(self, server: Server) -> None:
        """Have a server, which takes a minute where an interpreter is compiled."""
        self._server = server
        self._is_open.set()

    async def drain(self, scope: trio.CancelScope) -> None:
        """End with the grace; at once if nothing is served yet."""
        if self._server is None:
            scope.cancel()
        else:
            await self._server.drain()

    async def listen(self, scope: trio.CancelScope) -> None:
        """Do what the supervisor says, and end at once when it is gone."""
        async with trio.open_nursery() as nursery:
            while (message := await self._channel.receive()) is not None:
                match message:
                    case {"do": "configure"}:
                        nursery.start_soon(self._change, message)
                    case {"do": "route", "ports": ports}:
                        if ports.pop(self.router.key, None) is not None:
                            self._is_known.set()
                        self.router.ports = ports
                    case {"do": "drain"}:
                        nursery.start_soon(self.drain, scope)
                    case {"do": "report", "id": question, "kind": kind}:
                        nursery.start_soon(self._report, question, kind)
                    case {"do": "answer", "id": question, "reports": reports}:
                        answered = self._answers.pop(question, None)
                        if answered is not None:
                            answered.send_nowait(reports)
            _log.warning("the supervisor is gone")
            scope.cancel()

    async def _opened(self) -> Server:
        await self._is_open.wait()
        assert self._server is not None
        return self._server

    async def _change(self, message: dict[str, Any]) -> None:
        server = await self._opened()
        await server.change(_config(message))

    async def _report(self, question: int, kind: str) -> None:
        server = await self._opened()
        report = await server.report(kind)
        await self._channel.send({"say": "report", "id": question, "report": report})
