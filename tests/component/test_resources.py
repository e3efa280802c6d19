"""Resources of the host, and of the guest: who owns them, and when they are dropped."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
import trio
import wasmtime

from wasmpool import open_pool
from wasmpool_host import Component, GuestMemoryError, GuestTrap, host_function
from wasmpool_host._component import resources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmpool_host import ComponentInstance, HostFunction

COUNTERS = """(component
  (import "test:host/counters@1.2.0" (instance $counters
    (export "counter" (type $counter (sub resource)))
    (export "[constructor]counter" (func (param "start" u32) (result (own $counter))))
    (export "[method]counter.next" (func (param "self" (borrow $counter)) (result u32)))
    (export "take" (func (param "c" (own $counter)) (result u32)))))
  (alias export $counters "counter" (type $counter))
  (alias export $counters "[constructor]counter" (func $new))
  (alias export $counters "[method]counter.next" (func $next))
  (alias export $counters "take" (func $take))
  (core func $new (canon lower (func $new)))
  (core func $next (canon lower (func $next)))
  (core func $take (canon lower (func $take)))
  (core func $drop (canon resource.drop $counter))
  (core module $m
    (import "h" "new" (func $new (param i32) (result i32)))
    (import "h" "next" (func $next (param i32) (result i32)))
    (import "h" "take" (func $take (param i32) (result i32)))
    (import "h" "drop" (func $drop (param i32)))
    (global $kept (mut i32) (i32.const 0))
    (func (export "use") (param i32) (result i32) (local $c i32)
      (local.set $c (call $new (local.get 0)))
      (drop (call $next (local.get $c)))
      (call $next (local.get $c))
      (call $drop (local.get $c)))
    (func (export "keep") (param i32) (result i32)
      (global.set $kept (call $new (local.get 0)))
      (global.get $kept))
    (func (export "more") (result i32) (call $next (global.get $kept)))
    (func (export "give") (result i32) (call $take (global.get $kept)))
    (func (export "use-two") (param i32 i32) (result i32)
      (i32.add (call $next (local.get 0)) (call $next (local.get 1)))
      (call $drop (local.get 0))
      (call $drop (local.get 1)))
    (func (export "many") (param i32)
      (loop (drop (call $new (i32.const 0)))
        (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "trap") (param i32) (drop (call $new (local.get 0))) unreachable))
  (core instance $i (instantiate $m (with "h" (instance
    (export "new" (func $new)) (export "next" (func $next)) (export "take" (func $take))
    (export "drop" (func $drop))))))
  (func (export "use") (param "start" u32) (result u32) (canon lift (core func $i "use")))
  (func (export "keep") (param "start" u32) (result u32) (canon lift (core func $i "keep")))
  (func (export "more") (result u32) (canon lift (core func $i "more")))
  (func (export "give") (result u32) (canon lift (core func $i "give")))
  (func (export "use-two") (param "own" (own $counter)) (param "lent" (borrow $counter))
    (result u32) (canon lift (core func $i "use-two")))
  (func (export "many") (param "n" u32) (canon lift (core func $i "many")))
  (func (export "trap") (param "n" u32) (canon lift (core func $i "trap"))))"""


class Counter:
    """A host resource that counts how often it was closed."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Counters:
    """The host functions of the interface."""

    def __init__(self) -> None:
        self.made: list[Counter] = []
        self.pause: Any = trio.lowlevel.checkpoint

    def functions(self, interface: str = "test:host/counters@1.2.0") -> Sequence[HostFunction]:
        @host_function(interface, "[constructor]counter")
        def new(_: object, start: int) -> Counter:
            self.made.append(Counter(start))
            return self.made[-1]

        @host_function(interface, "[method]counter.next")
        async def following(_: object, counter: Counter) -> int:
            await self.pause()
            counter.value += 1
            return counter.value

        @host_function(interface, "take")
        def take(_: object, counter: Counter) -> int:
            return counter.value

        return [new, following, take]


async def test_a_resource_is_closed_when_the_guest_drops_it() -> None:
    """Not before, not twice, and not again with the instance."""
    counters = Counters()
    component = await Component.compile(COUNTERS, imports=counters.functions())
    instance = await component.instantiate()
    assert await instance.call("use", 5) == 7
    assert [each.closed for each in counters.made] == [1]
    await instance.aclose()
    assert [each.closed for each in counters.made] == [1]


async def test_what_the_guest_keeps_is_closed_with_it() -> None:
    counters = Counters()
    component = await Component.compile(COUNTERS, imports=counters.functions())
    instance = await component.instantiate()
    await instance.call("keep", 5)
    assert await instance.call("more") == 6
    assert [each.closed for each in counters.made] == [0]
    await instance.aclose()
    assert [each.closed for each in counters.made] == [1]


async def test_what_the_guest_gives_away_is_the_hosts() -> None:
    """Then nobody closes it but the host function that took it."""
    counters = Counters()
    component = await Component.compile(COUNTERS, imports=counters.functions())
    instance = await component.instantiate()
    await instance.call("keep", 5)
    assert await instance.call("give") == 5
    with pytest.raises(GuestTrap):
        await instance.call("more")
    await instance.aclose()
    assert [each.closed for each in counters.made] == [0]


async def test_arguments_are_owned_or_lent() -> None:
    counters = Counters()
    component = await Component.compile(COUNTERS, imports=counters.functions())
    instance = await component.instantiate()
    owned, lent = Counter(10), Counter(20)
    assert await instance.call("use-two", owned, lent) == 32
    await instance.aclose()
    assert (owned.closed, lent.closed) == (1, 0)


@pytest.mark.parametrize("interface", ["test:host/counters", "test:host/counters@1.7.3"])
async def test_compatible_versions_of_an_interface_are_one(interface: str) -> None:
    counters = Counters()
    component = await Component.compile(COUNTERS, imports=counters.functions(interface))
    instance = await component.instantiate()
    assert await instance.call("use", 5) == 7
    await instance.aclose()


async def test_a_trap_and_a_cancel_close_each_resource_once() -> None:
    counters = Counters()
    component = await Component.compile(COUNTERS, imports=counters.functions())
    instance = await component.instantiate()
    with pytest.raises(GuestTrap):
        await instance.call("trap", 1)
    await instance.aclose()
    counters.pause = trio.sleep_forever
    instance = await component.instantiate()
    owned, lent = Counter(10), Counter(20)
    with trio.move_on_after(0.01) as scope:
        await instance.call("use-two", owned, lent)
    assert scope.cancelled_caught
    await instance.aclose()
    assert [each.closed for each in (*counters.made, owned, lent)] == [1, 1, 0]


async def test_a_guest_has_only_so_many_handles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "MOST_HANDLES", 100)
    counters = Counters()
    component = await Component.compile(COUNTERS, imports=counters.functions())
    instance = await component.instantiate()
    with pytest.raises(GuestMemoryError, match="100 handles"):
        await instance.call("many", 1_000)
    assert instance.poisoned == "bad-pointer"
    await instance.aclose()
    assert len(counters.made) == 101
    assert {each.closed for each in counters.made} == {1}  # that without a handle, too


# --- resources of the guest ---------------------------------------------------------------------


def assembled(text: str) -> bytes:
    """Assemble a text that Wasmtime has written in another way up to version 47."""
    try:
        return bytes(wasmtime.wat2wasm(text))
    except wasmtime.WasmtimeError:
        return bytes(wasmtime.wat2wasm(text.replace("(dtor (core func", "(dtor (func")))


BLOBS = assembled("""(component
  (core module $state
    (global (export "dropped") (mut i32) (i32.const 0))
    (func (export "drop") (param i32)
      (if (i32.eq (local.get 0) (i32.const 666)) (then unreachable))
      (if (i32.eq (local.get 0) (i32.const 777)) (then (loop (br 0))))
      (global.set 0 (i32.add (global.get 0) (local.get 0)))))
  (core instance $state (instantiate $state))
  (type $blob' (resource (rep i32) (dtor (core func $state "drop"))))
  (export $blob "blob" (type $blob'))
  (core func $new (canon resource.new $blob'))
  (core func $rep (canon resource.rep $blob'))
  (core module $m
    (import "h" "new" (func $new (param i32) (result i32)))
    (import "h" "rep" (func $rep (param i32) (result i32)))
    (import "h" "dropped" (global $dropped (mut i32)))
    (func (export "new") (param i32) (result i32) (call $new (local.get 0)))
    (func (export "get") (param i32) (result i32) (local.get 0))
    (func (export "take") (param i32) (result i32) (call $rep (local.get 0)))
    (func (export "dropped") (result i32) (global.get $dropped)))
  (core instance $i (instantiate $m (with "h" (instance
    (export "new" (func $new)) (export "rep" (func $rep))
    (export "dropped" (global $state "dropped"))))))
  (func (export "[constructor]blob") (param "n" u32) (result (own $blob))
    (canon lift (core func $i "new")))
  (func (export "[method]blob.get") (param "self" (borrow $blob)) (result u32)
    (canon lift (core func $i "get")))
  (func (export "take") (param "b" (own $blob)) (result u32) (canon lift (core func $i "take")))
  (func (export "dropped") (result u32) (canon lift (core func $i "dropped"))))""")


async def test_a_guests_resource_is_used_and_dropped() -> None:
    """Its destructor runs once, however often it is dropped."""
    instance = await (await Component.compile(BLOBS)).instantiate()
    blob = await instance.call("[constructor]blob", 7)
    assert repr(blob) == "<GuestResource blob>"
    assert await instance.call("[method]blob.get", blob) == 7
    assert await instance.call("[method]blob.get", blob) == 7
    assert await instance.call("dropped") == 0
    await blob.drop()
    assert not blob.is_alive
    assert await instance.call("dropped") == 7
    await blob.drop()
    assert await instance.call("dropped") == 7
    with pytest.raises(TypeError, match=r"argument 'self': the blob is gone"):
        await instance.call("[method]blob.get", blob)
    assert instance.poisoned is None
    await instance.aclose()


async def test_a_resource_that_is_given_back_is_gone() -> None:
    instance = await (await Component.compile(BLOBS)).instantiate()
    blob = await instance.call("[constructor]blob", 7)
    assert await instance.call("take", blob) == 7
    with pytest.raises(TypeError, match="is gone"):
        await instance.call("take", blob)
    await instance.aclose()


async def test_a_resource_is_used_in_its_lease_only() -> None:
    component = await Component.compile(BLOBS)
    async with open_pool(component, size=1) as pool:
        async with pool.lease() as lease:
            blob = await lease.call("[constructor]blob", 7)
            assert await lease.call("[method]blob.get", blob) == 7
        with pytest.raises(RuntimeError, match="a lease that has ended"):
            await blob.drop()
        async with pool.lease() as lease:
            with pytest.raises(TypeError, match="belongs to another lease"):
                await lease.call("[method]blob.get", blob)
    assert not blob.is_alive
    await blob.drop()


async def test_resources_end_with_their_instance() -> None:
    instance = await (await Component.compile(BLOBS)).instantiate()
    blob = await instance.call("[constructor]blob", 7)
    other = await instance.call("[constructor]blob", 8)
    await instance.aclose()
    assert not blob.is_alive
    await blob.drop()
    del other


async def test_a_destructor_that_traps_poisons() -> None:
    instance = await (await Component.compile(BLOBS)).instantiate()
    blob = await instance.call("[constructor]blob", 666)
    with pytest.raises(GuestTrap, match="unreachable"):
        await blob.drop()
    assert instance.poisoned == "trap"
    await instance.aclose()


async def test_a_destructor_that_never_ends_is_cancelled() -> None:
    instance = await (await Component.compile(BLOBS)).instantiate()
    blob = await instance.call("[constructor]blob", 777)
    with trio.move_on_after(0.02) as scope:
        await blob.drop()
    assert scope.cancelled_caught
    assert instance.poisoned == "cancelled"
    assert not blob.is_alive
    await instance.aclose()


async def test_what_a_call_of_the_pool_returns_is_gone() -> None:
    """Nobody has the instance after it: a lease does."""
    async with open_pool(await Component.compile(BLOBS)) as pool:
        blob = await pool.call("[constructor]blob", 7)
        assert not blob.is_alive
        await blob.drop()
        with pytest.raises(TypeError, match="is gone"):
            await pool.call("[method]blob.get", blob)


async def test_a_resource_can_be_made_by_a_setup() -> None:
    """And is used by it: the instance is its own for that time."""
    seen: list[int] = []

    async def setup(instance: ComponentInstance) -> None:
        blob = await instance.call("[constructor]blob", 9)
        seen.append(await instance.call("[method]blob.get", blob))
        await blob.drop()

    async with open_pool(await Component.compile(BLOBS), setup=setup) as pool:
        assert seen == [9]
        assert await pool.call("dropped") == 9


async def test_an_instance_that_is_forgotten_frees_itself() -> None:
    """With a warning, and with its resources."""
    counters = Counters()
    component = await Component.compile(COUNTERS, imports=counters.functions())
    instance: ComponentInstance | None = await component.instantiate()
    assert instance is not None
    await instance.call("keep", 1)
    with pytest.warns(ResourceWarning, match="was not closed"):  # noqa: PT031 - the second ends cycles
        instance = None
        gc.collect()
    assert [each.closed for each in counters.made] == [1]


async def test_a_close_that_raises_ends_the_call() -> None:
    """And the instance; the other resources are closed all the same."""

    class Bad(Counter):
        def close(self) -> None:
            super().close()
            raise LookupError("close")

    counters = Counters()
    component = await Component.compile(COUNTERS, imports=counters.functions())
    instance = await component.instantiate()
    await instance.call("keep", 5)
    bad, lent = Bad(1), Counter(2)
    with pytest.raises(LookupError, match="close"):
        await instance.call("use-two", bad, lent)
    assert instance.poisoned == "host-error"
    await instance.aclose()
    assert [bad.closed, lent.closed, *(each.closed for each in counters.made)] == [1, 0, 1]


async def test_only_a_resource_of_the_right_type_fits() -> None:
    instance = await (await Component.compile(BLOBS)).instantiate()
    other = await (await Component.compile(BLOBS)).instantiate()
    blob = await other.call("[constructor]blob", 7)
    with pytest.raises(TypeError, match=r"argument 'self'"):
        await instance.call("[method]blob.get", blob)
    with pytest.raises(TypeError, match=r"give a blob that the guest has returned, not 7"):
        await instance.call("[method]blob.get", 7)
    await other.aclose()
    await instance.aclose()


async def test_an_object_is_lent_again_and_again() -> None:
    """Nothing of it is left after a call, whether it returned or not."""
    counters = Counters()
    component = await Component.compile(COUNTERS, imports=counters.functions())
    instance = await component.instantiate()
    lent = Counter(0)
    for k in range(50):
        assert await instance.call("use-two", Counter(0), lent) == k + 2
        with pytest.raises(TypeError, match="argument 'own': give the object"):
            await instance.call("use-two", None, lent)
    assert len(instance._store.handles) == 0
    await instance.aclose()
    assert lent.closed == 0


@pytest.mark.parametrize("leased", [False, True])
async def test_resources_that_nobody_drops_end_their_instance_and_no_call(
    leased: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of a pool's own calls, and those that leases leave behind."""
    monkeypatch.setattr(resources, "MOST_HANDLES", 10)
    component = await Component.compile(BLOBS)
    async with open_pool(component, size=1) as pool:
        for _ in range(25):
            if leased:
                async with pool.lease() as lease:
                    await lease.call("[constructor]blob", 1)
            else:
                await pool.call("[constructor]blob", 1)
        statistics = pool.statistics()
        assert (statistics.retired["memory"], statistics.granted) == (2, 25)


async def test_a_lease_that_drops_its_resources_keeps_its_instance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resources, "MOST_HANDLES", 10)
    component = await Component.compile(BLOBS)
    async with open_pool(component, size=1) as pool:
        for _ in range(25):
            async with pool.lease() as lease:
                blob = await lease.call("[constructor]blob", 1)
                await blob.drop()
        assert pool.statistics().closed == 0
