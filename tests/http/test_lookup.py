"""Look-ups that are given up hold up nobody: neither other threads nor other plugins."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

from wasmpool._http.host_function import Http
from wasmpool._http.lookup import Lookups
from wasmpool._http.message import HttpFailure
from wasmpool._http.policy import HttpPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    Until = Callable[[Callable[[], bool]], Awaitable[None]]


@attrs.define
class NameServers:
    """Know every name but those under ``silent.example``, which they do not answer for."""

    asked: list[str] = attrs.field(factory=list)
    waiting: set[str] = attrs.field(factory=set)
    release: threading.Event = attrs.field(factory=threading.Event)
    addresses: list[Any] = attrs.field(factory=list)

    def getaddrinfo(self, host: Any, port: int, *_: object, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if options.get("flags", 0) & socket.AI_NUMERICHOST:
            if name[0].isdigit():
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (name, port))]
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        self.asked.append(name)
        if name.endswith("silent.example"):
            self.waiting.add(name)
            assert self.release.wait(60)
            self.waiting.discard(name)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return self.addresses or [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch, until: Until) -> AsyncGenerator[NameServers, None]:
    servers = NameServers()
    monkeypatch.setattr(socket, "getaddrinfo", servers.getaddrinfo)
    yield servers
    servers.release.set()
    await until(lambda: not servers.waiting)


async def give_up(lookups: Lookups, names: NameServers, until: Until, *hosts: str) -> None:
    """Ask for names that are not answered, and stop waiting once all are looked up."""
    async with trio.open_nursery() as nursery:
        for host in hosts:
            nursery.start_soon(lookups.find, host, 80)
        await until(lambda: names.waiting >= set(hosts))
        nursery.cancel_scope.cancel()


def silent(count: int, plugin: str = "a") -> list[str]:
    return [f"{plugin}{number}.silent.example" for number in range(count)]


async def test_a_name_is_found(names: NameServers) -> None:
    """With its port, and asked for once."""
    found = await Lookups().find("a.example", 81)
    assert [each.sockaddr for each in found] == [("192.0.2.1", 81)]
    assert names.asked == ["a.example"]


async def test_an_address_is_not_looked_up(names: NameServers) -> None:
    """It stands for itself, and takes no thread."""
    found = await Lookups().find("192.0.2.7", 80)
    assert [each.text for each in found] == ["192.0.2.7"]
    assert names.asked == []


async def test_a_name_with_thousands_of_addresses(
    names: NameServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ones are enough to try, and to judge."""
    many = [(2, 1, 6, "", (f"10.0.{at // 256}.{at % 256}", 80)) for at in range(4000)]
    monkeypatch.setattr(names, "addresses", many)
    found = await Lookups().find("a.example", 80)
    assert [each.text for each in found] == [each[4][0] for each in many[:32]]


async def test_a_name_is_looked_up_once_for_all_that_ask(names: NameServers, until: Until) -> None:
    """Also if some of them give up, and others come later."""
    lookups = Lookups()
    host = "a.silent.example"
    failures: list[str] = []

    async def ask() -> None:
        with contextlib.suppress(HttpFailure):
            await lookups.find(host, 80)
        failures.append(host)

    for _ in range(50):
        await give_up(lookups, names, until, host)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        names.release.set()
    assert len(failures) == 3
    assert names.asked == [host]


async def test_given_up_lookups_are_refused_at_once(names: NameServers, until: Until) -> None:
    """Twelve that have not returned are enough: a new name fails, and says why."""
    lookups = Lookups()
    await give_up(lookups, names, until, *silent(11))
    assert (await lookups.find("b.example", 80))[0].text == "192.0.2.1"
    await give_up(lookups, names, until, "one.more.silent.example")
    with pytest.raises(HttpFailure, match="12 look-ups that were given up have not returned"):
        await lookups.find("c.example", 80)
    names.release.set()
    await until(lambda: not names.waiting)
    await trio.testing.wait_all_tasks_blocked()
    assert (await lookups.find("c.example", 80))[0].text == "192.0.2.1"


async def test_others_have_their_threads(names: NameServers, until: Until) -> None:
    """What one plugin gives up costs another plugin nothing, nor trio's own threads."""
    lookups = Lookups()
    await give_up(lookups, names, until, *silent(16))
    assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
    assert (await Lookups().find("b.example", 80))[0].text == "192.0.2.1"
    assert await trio.to_thread.run_sync(lambda: "a thread") == "a thread"


async def test_requests_wait_for_a_thread(names: NameServers, until: Until) -> None:
    """Sixteen names are looked up at once; the others wait in line, and then are found."""
    lookups = Lookups()
    done: list[str] = []

    async def ask(host: str) -> None:
        with contextlib.suppress(HttpFailure):
            await lookups.find(host, 80)
        done.append(host)

    async with trio.open_nursery() as nursery:
        for host in silent(16):
            nursery.start_soon(ask, host)
        await until(lambda: len(names.waiting) == 16)
        for number in range(20):
            nursery.start_soon(ask, f"n{number}.example")
        await trio.testing.wait_all_tasks_blocked()
        assert len(names.asked) == 16
        assert done == []
        names.release.set()
    assert len(done) == 36
    assert len(names.asked) == 36


async def test_those_in_line_are_told_when_the_others_give_up(
    names: NameServers, until: Until
) -> None:
    """They do not wait for threads that will not come back."""
    lookups = Lookups()
    failures: list[str] = []

    async def ask(host: str) -> None:
        try:
            await lookups.find(host, 80)
        except HttpFailure as failure:
            failures.append(str(failure))

    async with trio.open_nursery() as patient:  # noqa: SIM117 - one after the other
        async with trio.open_nursery() as nursery:
            for host in silent(16):
                nursery.start_soon(lookups.find, host, 80)
            await until(lambda: len(names.waiting) == 16)
            for number in range(3):
                patient.start_soon(ask, f"n{number}.example")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert len(failures) == 3
    assert all("16 look-ups that were given up" in failure for failure in failures)


async def test_one_that_is_cancelled_in_line_leaves_its_place(
    names: NameServers, until: Until
) -> None:
    """The next one in line gets the thread."""
    lookups = Lookups()
    found: list[str] = []

    async def ask(host: str) -> None:
        with contextlib.suppress(HttpFailure):
            await lookups.find(host, 80)
            found.append(host)

    async with trio.open_nursery() as nursery:
        for host in silent(16):
            nursery.start_soon(ask, host)
        await until(lambda: len(names.waiting) == 16)
        async with trio.open_nursery() as cancelled:
            cancelled.start_soon(ask, "cancelled.example")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask, "next.example")
            await trio.testing.wait_all_tasks_blocked()
            cancelled.cancel_scope.cancel()
        names.release.set()
    assert found == ["next.example"]


async def test_a_request_is_told(names: NameServers, until: Until) -> None:
    """A guest reads the reason, and a request with a deadline does not wait for the resolver."""
    http = Http(HttpPolicy(default_timeout=0.2), 1 << 20)
    await http.import_client()

    async def ask(host: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(
            await http.answer(json.dumps({"url": f"http://{host}/"}).encode())
        )
        return answer

    async with trio.open_nursery() as nursery:
        for host in silent(12):
            nursery.start_soon(ask, host)
    reply = await ask("other.example")
    assert reply["status"] == 0
    assert reply["body"].startswith("12 look-ups that were given up have not returned (of 'a")
    await http.aclose()
    names.release.set()
    await until(lambda: not names.waiting)


def test_a_run_ends_while_a_lookup_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for it, and what it finds is thrown away."""
    names = NameServers()
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)

    async def main() -> None:
        with trio.move_on_after(0.05):
            await Lookups().find("a.silent.example", 80)

    trio.run(main)
    threads = [each for each in threading.enumerate() if "look-up of a.silent" in each.name]
    names.release.set()
    assert len(threads) == 1
