"""Arguments, environment, exit, terminals, random numbers, and sockets, which are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from wasmpool_host import GuestExit, GuestTrap
from wasmpool_host._wit_values import Err, Ok

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.host.wasi.preview2 import FakeComponent

ENVIRONMENT = "wasi:cli/environment"
RANDOM = "wasi:random/random"


def test_a_component_gets_what_it_is_given(open_component: Callable[..., FakeComponent]) -> None:
    """In its order, and nothing of this process."""
    component = open_component(args=["prog", "ä", ""], env={"B": "x=y", "A": ""})
    assert component.call(ENVIRONMENT, "get-arguments") == ["prog", "ä", ""]
    assert component.call(ENVIRONMENT, "get-environment") == [("B", "x=y"), ("A", "")]
    assert component.call(ENVIRONMENT, "initial-cwd") is None


def test_by_default_it_is_shut(open_component: Callable[..., FakeComponent]) -> None:
    """No arguments, no environment, no directories."""
    component = open_component()
    assert component.call(ENVIRONMENT, "get-arguments") == []
    assert component.call(ENVIRONMENT, "get-environment") == []
    assert component.roots() == []


def test_an_exit_is_an_exit(component: FakeComponent) -> None:
    """With 0 or 1, or the number that it says."""
    for name, given, status in (
        ("exit", Ok(), 0),
        ("exit", Err(), 1),
        ("exit-with-code", 200, 200),
    ):
        with pytest.raises(GuestExit) as caught:
            component.call("wasi:cli/exit", name, given)
        assert caught.value.status == status


def test_output_is_a_terminal_and_input_is_not(component: FakeComponent) -> None:
    """So that C libraries write each line when it ends."""
    for name in ("stdout", "stderr"):
        found = component.call(f"wasi:cli/terminal-{name}", f"get-terminal-{name}")
        assert found is not None
    assert component.call("wasi:cli/terminal-stdin", "get-terminal-stdin") is None


async def test_random_numbers_are_random_and_bounded(component: FakeComponent) -> None:
    """As many bytes as were asked for, or a trap before any are made."""
    for interface, name in (
        (RANDOM, "get-random-bytes"),
        ("wasi:random/insecure", "get-insecure-random-bytes"),
    ):
        for size in (0, 1, 200_000):
            found = await component.acall(interface, name, size)
            assert len(found) == size
        assert len(set(found)) == 256
        for size in (2**20 + 1, 2**64 - 1):
            with pytest.raises(GuestTrap, match="random bytes at once"):
                await component.acall(interface, name, size)
    seed = component.call("wasi:random/insecure-seed", "insecure-seed")
    numbers = {component.call(RANDOM, "get-random-u64") for _ in range(10)} | set(seed)
    numbers.add(component.call("wasi:random/insecure", "get-insecure-random-u64"))
    assert len(numbers) == 13
    assert all(0 <= number < 2**64 for number in numbers)


async def test_many_random_bytes_are_cancelled(component: FakeComponent) -> None:
    """They are made in chunks."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await component.acall(RANDOM, "get-random-bytes", 2**20)
    assert scope.cancelled_caught


def test_sockets_are_refused(component: FakeComponent) -> None:
    """By the error that says so; names are not looked up either."""
    denied = Err("access-denied")
    network = component.call("wasi:sockets/instance-network", "instance-network")
    for kind in ("tcp", "udp"):
        interface = f"wasi:sockets/{kind}-create-socket"
        assert component.call(interface, f"create-{kind}-socket", "ipv4") == denied
    lookup = component.call("wasi:sockets/ip-name-lookup", "resolve-addresses", network, "a.b")
    assert lookup == denied


def test_what_there_can_be_none_of_is_a_trap(component: FakeComponent) -> None:
    """A method of a socket, which no component can have."""
    with pytest.raises(GuestTrap, match="a tcp-socket was used, and there can be none"):
        component.call("wasi:sockets/tcp", "[method]tcp-socket.accept", None)
