"""One plugin's look-ups of host names, in threads of their own.

A look-up by the system blocks its thread until the name servers answer or the resolver gives up.
That can take half a minute, and it cannot be interrupted. Trio's look-ups run in the 40 threads
that the whole process shares, and a cancelled look-up keeps its thread. So each plugin has its own
threads here. A name is looked up once, however many requests wait for it, and however many of them
are cancelled. When most threads are occupied by look-ups without a waiting request, look-ups of new
names fail at once, with the reason.

A resolver that was set with `trio.socket.set_custom_hostname_resolver` is used instead.
"""

from __future__ import annotations

import contextlib
import functools
import socket
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import attrs
import trio

from .connect import Endpoint
from .message import HttpFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outcome import Outcome

__all__ = ["Lookups"]

_THREADS: Final = 16  # more requests seldom need a new name at the same time
_ADDRESSES: Final = 32  # of a name: a name server can send thousands, and each is tried
_GIVEN_UP: Final = 12  # threads; a quarter stays free for names that are answered

_Found: TypeAlias = "Sequence[tuple[Any, ...]]"  # as `socket.getaddrinfo` returns it


@attrs.define(eq=False)
class _Lookup:
    """A look-up that runs in a thread."""

    host: str
    waiting: int = 0
    """The number of requests that wait for it."""
    done: trio.Event = attrs.field(factory=trio.Event, init=False)
    found: _Found = attrs.field(default=(), init=False)
    failure: Exception | None = attrs.field(default=None, init=False)


@final
class Lookups:
    """Finds the addresses of host names."""

    # Invariant: `_running` has each look-up that has a thread.

    def __init__(self) -> None:
        self._running: dict[tuple[str, int], _Lookup] = {}
        self._queue = trio.lowlevel.ParkingLot()
        """Requests that wait for a thread."""

    async def find(self, host: str, port: int) -> list[Endpoint]:
        """Return the endpoints of a host: at most 32.

        Args:
            host: an address, or a name in ASCII.
            port: the port to connect to.

        Raises:
            HttpFailure: the name is not found, or too many look-ups were given up.

        A cancel does not end the look-up; its result is dropped.
        """
        try:
            found = await self._find(host, port)
        except OSError as failure:
            raise _not_found(host, failure) from failure
        endpoints = (Endpoint(family, sockaddr) for family, *_, sockaddr in found[:_ADDRESSES])
        return list(dict.fromkeys(endpoints))

    async def _find(self, host: str, port: int) -> _Found:
        with contextlib.suppress(socket.gaierror):  # it is not an address
            flags = socket.AI_NUMERICHOST
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
        if _has_custom_resolver():
            return await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        lookup = self._running.get((host, port))
        while lookup is None:
            await self._wait_for_a_thread()
            lookup = self._running.get((host, port)) or self._start(host, port)
        return await self._result(lookup)

    async def _wait_for_a_thread(self) -> None:
        self._refuse_if_stuck()
        if len(self._running) < _THREADS and not self._queue:
            return
        await self._queue.park()
        self._refuse_if_stuck()
        while len(self._running) >= _THREADS:
            await self._queue.park()
            self._refuse_if_stuck()

    def _start(self, host: str, port: int) -> _Lookup:
        lookup = _Lookup(host)
        token = trio.lowlevel.current_trio_token()

        def deliver(outcome: Outcome[_Found]) -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(self._finish, (host, port), outcome)

        # As bytes, which are passed on as they are; a str would be encoded once more.
        look_up = functools.partial(
            socket.getaddrinfo, host.encode("ascii"), port, type=socket.SOCK_STREAM
        )
        trio.lowlevel.start_thread_soon(look_up, deliver, f"wasmpool look-up of {host}")
        self._running[host, port] = lookup
        return lookup

    def _finish(self, key: tuple[str, int], outcome: Outcome[_Found]) -> None:
        lookup = self._running.pop(key)
        try:
            lookup.found = outcome.unwrap()
        except Exception as failure:  # noqa: BLE001 - raised in each waiting request
            lookup.failure = failure
        lookup.done.set()
        self._queue.unpark()

    async def _result(self, lookup: _Lookup) -> _Found:
        lookup.waiting += 1
        try:
            await lookup.done.wait()
        finally:
            lookup.waiting -= 1
            if len(self._given_up()) >= _GIVEN_UP:
                self._queue.unpark_all()  # so that they are refused
        if lookup.failure is not None:
            raise _not_found(lookup.host, lookup.failure) from lookup.failure
        return lookup.found

    def _given_up(self) -> list[str]:
        return [lookup.host for lookup in self._running.values() if not lookup.waiting]

    def _refuse_if_stuck(self) -> None:
        given_up = self._given_up()
        if len(given_up) >= _GIVEN_UP:
            message = (
                f"{len(given_up)} look-ups that were given up have not returned (of "
                f"{given_up[0]!r} and others): no other name is looked up until the name servers "
                "answer"
            )
            raise HttpFailure(message)


def _not_found(host: str, failure: Exception) -> HttpFailure:
    reason = getattr(failure, "strerror", None) or failure
    return HttpFailure(f"the name {host!r} was not found: {reason}")


def _has_custom_resolver() -> bool:
    """Return True if the application has set one; trio returns it only when it is replaced."""
    resolver = trio.socket.set_custom_hostname_resolver(None)
    trio.socket.set_custom_hostname_resolver(resolver)
    return resolver is not None
