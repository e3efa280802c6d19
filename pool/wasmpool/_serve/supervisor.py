"""Several workers that serve one address: they are started, replaced, and ended together.

A worker is a process, or a thread of this one. All workers accept on one socket, which the
supervisor has opened. Each has a channel to the supervisor. By it comes what a worker needs: the
configuration, the end, and reports of all workers for the one that was asked for metrics. The end
of the channel is the end of the worker, so none is left behind if the supervisor is killed.
"""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Any, Final, Protocol, final

import attrs
import trio

from .channel import Channel
from .config_file import build_config, read_file
from .listening import listening
from .signals import Signals
from .table import ConfigError
from .worker_process import worker_process
from .worker_thread import worker_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .config import Config
    from .config_file import Arguments

__all__ = ["serve_by_workers"]

_log = logging.getLogger("wasmpool.serve")

_STEADY: Final = 10.0
"""Seconds after which the end of a worker is no failed start."""
_FIRST_PAUSE: Final = 0.5
"""Seconds before a worker that ended at once is replaced; doubled each time."""
_LAST_PAUSE: Final = 30.0
_REPORT_SECONDS: Final = 3.0
"""That a worker has for a report."""
_SEND_SECONDS: Final = 20.0
"""That a worker has to read a message; then it is killed. One that is at rest reads at once."""
_CLOSE_SECONDS: Final = 15.0
"""That a worker has to end after the grace; then it is killed."""


async def serve_by_workers(arguments: Arguments, content: bytes | None, config: Config) -> None:
    """Serve until a signal ends it.

    Args:
        arguments: of the command.
        content: of the configuration file.
        config: what both say.

    Raises:
        ConfigError: the address cannot be had.
    """
    signals = Signals()
    with signals.handled():
        async with listening(config.server.http) as sockets, trio.open_nursery() as nursery:
            supervisor = _Supervisor(arguments, content, config, sockets)
            nursery.start_soon(supervisor.change_when_asked, signals)
            nursery.start_soon(supervisor.drain_when_stopped, signals, nursery.cancel_scope)
            await supervisor.keep_all()
            nursery.cancel_scope.cancel()


class Place(Protocol):
    """Where a worker runs."""

    def kill(self) -> None:
        """End it at once; nothing, if it has ended."""
        ...

    async def wait(self) -> str:
        """Wait for its end: how it ended, in words that follow on its name."""
        ...


@final
@attrs.define(eq=False)
class _Worker:
    """One that serves."""

    number: int
    channel: Channel
    place: Place
    key: str | None = None
    """That the names of its sessions begin with; None until it serves."""
    port: int = 0
    """Where it answers other workers."""
    reports: dict[int, trio.MemorySendChannel[Any]] = attrs.field(factory=dict)
    """By the number of the question, where its answer goes."""


@final
class _Supervisor:
    def __init__(
        self,
        arguments: Arguments,
        content: bytes | None,
        config: Config,
        sockets: Sequence[socket.socket],
    ) -> None:
        self._arguments = arguments
        self._content = content
        self._config = config
        self._sockets = sockets
        self._is_threaded = config.server.threads > 1
        self._count = config.server.threads if self._is_threaded else config.server.workers
        self._workers: dict[int, _Worker] = {}
        self._stopping = trio.Event()
        self._questions = 0

    # --- the workers ---

    async def keep_all(self) -> None:
        """Keep all workers running, until they have been told to end."""
        async with trio.open_nursery() as nursery:
            for number in range(1, self._count + 1):
                nursery.start_soon(self._keep, number)

    async def _keep(self, number: int) -> None:
        pause = 0.0
        while not self._stopping.is_set():
            started = trio.current_time()
            ending = await self._run(number)
            if self._stopping.is_set():
                return
            _log.warning("worker %d %s: it is replaced", number, ending)
            is_steady = trio.current_time() > started + _STEADY
            pause = 0.0 if is_steady else min(_LAST_PAUSE, pause * 2 or _FIRST_PAUSE)
            with trio.move_on_after(pause):
                await self._stopping.wait()

    async def _run(self, number: int) -> str:
        """Run one worker to its end, and return how it ended."""
        ours, theirs = socket.socketpair()
        channel = Channel(ours, _SEND_SECONDS)
        open_place = worker_thread if self._is_threaded else worker_process
        try:
            async with (
                open_place(number, theirs, self._sockets) as place,
                trio.open_nursery() as nursery,
            ):
                self._workers[number] = worker = _Worker(number, channel, place)
                nursery.start_soon(self._talk, worker, nursery)
                ending = await place.wait()
                nursery.cancel_scope.cancel()
            return ending
        finally:
            self._workers.pop(number, None)
            await channel.aclose()
            await self._tell_all(self._ports())

    # --- what is said ---

    async def _talk(self, worker: _Worker, nursery: trio.Nursery) -> None:
        await _tell(worker, self._configuration())
        if self._stopping.is_set():
            await _tell(worker, {"do": "drain"})
        while (message := await worker.channel.receive()) is not None:
            match message:
                case {"say": "report", "id": question, "report": report}:
                    answered = worker.reports.pop(question, None)
                    if answered is not None:
                        answered.send_nowait(report)
                case {"say": "ask", "id": question, "kind": kind}:
                    nursery.start_soon(self._answer, worker, question, kind)
                case {"say": "serves", "key": key, "port": port}:
                    worker.key, worker.port = key, port
                    await self._tell_all(self._ports())

    def _configuration(self) -> dict[str, Any]:
        content = None if self._content is None else self._content.decode()
        return {"do": "configure", "arguments": self._arguments.as_json(), "content": content}

    def _ports(self) -> dict[str, Any]:
        workers = self._workers.values()
        ports = {each.key: each.port for each in workers if each.key is not None}
        return {"do": "route", "ports": ports}

    async def _answer(self, worker: _Worker, question: int, kind: str) -> None:
        """Answer a worker that has asked for the reports of all."""
        reports: dict[str, Any] = {str(number + 1): None for number in range(self._count)}

        async def ask(each: _Worker) -> None:
            reports[str(each.number)] = await self._ask(each, kind)

        async with trio.open_nursery() as nursery:
            for each in list(self._workers.values()):
                nursery.start_soon(ask, each)
        await _tell(worker, {"do": "answer", "id": question, "reports": reports})

    async def _ask(self, worker: _Worker, kind: str) -> Any:
        """Return a worker's report; None if there is none in time."""
        self._questions += 1
        question = self._questions
        answered, answer = trio.open_memory_channel[Any](1)
        worker.reports[question] = answered
        try:
            with trio.move_on_after(_REPORT_SECONDS):
                await _tell(worker, {"do": "report", "id": question, "kind": kind})
                return await answer.receive()
        finally:
            worker.reports.pop(question, None)
        return None

    async def _tell_all(self, message: dict[str, Any]) -> None:
        async with trio.open_nursery() as nursery:  # one that does not read holds up no other
            for worker in self._workers.values():
                nursery.start_soon(_tell, worker, message)

    # --- signals ---

    async def drain_when_stopped(self, signals: Signals, scope: trio.CancelScope) -> None:
        """End all workers after a signal, and kill those that do not end."""
        await signals.stopping.wait()
        self._stopping.set()
        for each in self._sockets:  # no new connection is to wait for a worker
            each.close()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_all, {"do": "drain"})
            await trio.sleep(self._config.server.grace + _CLOSE_SECONDS)
            _log.error("%d workers do not end, and are killed", len(self._workers))
            scope.cancel()

    async def change_when_asked(self, signals: Signals) -> None:
        """Read the configuration again after a signal, and tell all workers."""
        while True:
            await signals.wait_for_reload()
            file = self._arguments.file
            try:
                content = None if file is None else read_file(file)
                self._config = build_config(self._arguments, content)
            except ConfigError as error:
                _log.error("the configuration stays as it is: %s", error)
                continue
            self._content = content
            await self._tell_all(self._configuration())


async def _tell(worker: _Worker, message: dict[str, Any]) -> None:
    """Send a message to a worker, and kill a worker that does not take it."""
    if not await worker.channel.send(message):
        worker.place.kill()
