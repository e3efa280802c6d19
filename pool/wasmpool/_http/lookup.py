"""One plugin's look-ups of host names, in threads that nobody else waits for.

A look-up of the system's blocks its thread until the name servers answer or the resolver gives up,
which can take half a minute, and nothing can interrupt it. Trio's own would do that in the 40
threads that everything else in the process uses too, and one that was cancelled keeps its thread.
So each plugin has a number of its own threads here. A name is looked up once, however many requests
wait for it and however often they give it up; and once most threads are held by look-ups that
nobody waits for any more, new names fail at once, with the reason.

A resolver that was set with `trio.socket.set_custom_hostname_resolver` is used as it is.
"""

from __future__ import annotations

import contextlib
import functools
import socket
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import attrs
import trio

from .message import HttpFailure
from .stream import Address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outcome import Outcome

__all__ = ["Lookups"]

_THREADS: Final = 16  # at once; more requests than that seldom need a new name at the same time
_ADDRESSES: Final = 32  # of a name; a name server can send thousands, and each is judged and tried
_GIVEN_UP: Final = 12  # of them; a quarter is left for names that are answered

_Found: TypeAlias = "Sequence[tuple[Any, ...]]"  # as `socket.getaddrinfo` returns it


@attrs.define(eq=False)
class _Lookup:
    """One that is under way in a thread."""

    host: str
    waiting: int = 0
    """Requests."""
    done: trio.Event = attrs.field(factory=trio.Event, init=False)
    found: _Found = attrs.field(default=(), init=False)
    failure: Exception | None = attrs.field(default=None, init=False)


@final
class Lookups:
    """Finds the addresses of host names."""

    # Invariant: a look-up is in `_under_way` as long as it has a thread.

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, int], _Lookup] = {}
        self._line = trio.lowlevel.ParkingLot()
        """Requests that wait for a thread."""

    async def find(self, host: str, port: int) -> list[Address]:
        """Find where to connect: the first 32 addresses.

        Args:
            host: an address, or a name in ASCII.
            port: the one to connect to.

        Raises:
            HttpFailure: there is no such name, or too many look-ups were given up.

        A cancel leaves the look-up alone; its result is thrown away.
        """
        try:
            found = await self._find(host, port)
        except OSError as failure:
            raise _not_found(host, failure) from failure
        addresses = (Address(family, sockaddr) for family, *_, sockaddr in found[:_ADDRESSES])
        return list(dict.fromkeys(addresses))

    async def _find(self, host: str, port: int) -> _Found:
        with contextlib.suppress(socket.gaierror):  # it is no address
            flags = socket.AI_NUMERICHOST
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
        if _has_custom_resolver():
            return await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        lookup = self._under_way.get((host, port))
        while lookup is None:
            await self._wait_for_a_thread()
            lookup = self._under_way.get((host, port)) or self._start(host, port)
        return await self._result(lookup)

    async def _wait_for_a_thread(self) -> None:
        self._refuse_if_stuck()
        if len(self._under_way) < _THREADS and not self._line:
            return
        await self._line.park()
        self._refuse_if_stuck()
        while len(self._under_way) >= _THREADS:
            await self._line.park()
            self._refuse_if_stuck()

    def _start(self, host: str, port: int) -> _Lookup:
        lookup = _Lookup(host)
        token = trio.lowlevel.current_trio_token()

        def deliver(outcome: Outcome[_Found]) -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(self._finish, (host, port), outcome)

        # Bytes, as trio has it: no codec has another word about the name.
        look_up = functools.partial(
            socket.getaddrinfo, host.encode("ascii"), port, type=socket.SOCK_STREAM
        )
        trio.lowlevel.start_thread_soon(look_up, deliver, f"wasmpool look-up of {host}")
        self._under_way[host, port] = lookup
        return lookup

    def _finish(self, key: tuple[str, int], outcome: Outcome[_Found]) -> None:
        lookup = self._under_way.pop(key)
        try:
            lookup.found = outcome.unwrap()
        except Exception as failure:  # noqa: BLE001 - each request that waits has its own
            lookup.failure = failure
        lookup.done.set()
        self._line.unpark()

    async def _result(self, lookup: _Lookup) -> _Found:
        lookup.waiting += 1
        try:
            await lookup.done.wait()
        finally:
            lookup.waiting -= 1
            if len(self._given_up()) >= _GIVEN_UP:
                self._line.unpark_all()  # they are refused
        if lookup.failure is not None:
            raise _not_found(lookup.host, lookup.failure) from lookup.failure
        return lookup.found

    def _given_up(self) -> list[str]:
        return [lookup.host for lookup in self._under_way.values() if not lookup.waiting]

    def _refuse_if_stuck(self) -> None:
        given_up = self._given_up()
        if len(given_up) >= _GIVEN_UP:
            message = (
                f"{len(given_up)} look-ups that were given up have not come back (of "
                f"{given_up[0]!r} and others): no other name is looked up until the name servers "
                "answer"
            )
            raise HttpFailure(message)


def _not_found(host: str, failure: Exception) -> HttpFailure:
    reason = getattr(failure, "strerror", None) or failure
    return HttpFailure(f"the name {host!r} was not found: {reason}")


def _has_custom_resolver() -> bool:
    """Return True if the application has set one; trio tells only by replacing it."""
    resolver = trio.socket.set_custom_hostname_resolver(None)
    trio.socket.set_custom_hostname_resolver(resolver)
    return resolver is not None
