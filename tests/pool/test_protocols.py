"""Whatever a type checker takes for a module or an instance works in a pool.

The fakes here have what the protocols ask for, and nothing else: no base class, no further
attribute. ``type: ignore`` of what lacks a member is a test as well: mypy says if it is unused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from wasmpool import Completed
from wasmpool._errors import LeaseRevoked
from wasmpool._pool.pool import open_pool
from wasmpool_host.lowlevel import PENDING

if TYPE_CHECKING:
    from wasmpool._pool.protocols import Instance, Memory, Module

SPIN: Final = "spin"


class FewBytes:
    def __init__(self) -> None:
        self._data = bytearray(8)

    @property
    def size(self) -> int:
        return len(self._data)

    def read(self, ptr: int, size: int) -> bytes:
        return bytes(self._data[ptr : ptr + size])

    def write(self, ptr: int, data: bytes) -> None:
        self._data[ptr : ptr + len(data)] = data


class Least:
    """An instance: it echoes, or waits to be interrupted."""

    def __init__(self) -> None:
        self._memory = FewBytes()
        self._poisoned: str | None = None
        self._interrupted: BaseException | None = None
        self._scope = trio.CancelScope()

    @property
    def memory(self) -> FewBytes:
        return self._memory

    @property
    def memory_size(self) -> int:
        return self._memory.size

    @property
    def poisoned(self) -> str | None:
        return self._poisoned

    def start(self) -> Any:
        return None

    async def run_call(self, name: str, args: tuple[Any, ...]) -> Any:
        return await self.finish() if self.start_call(name, args) is PENDING else args[0]

    async def run_exchange(self, name: str, payload: bytes | None) -> bytes:
        return payload or b""

    async def run_program(self, args: Any, export: str, world: Any, *, check: bool) -> Completed:
        return Completed(args=(), returncode=0)

    def end_output(self) -> None:
        pass

    def start_call(self, name: str, args: tuple[Any, ...]) -> Any:
        return PENDING if name == SPIN else args[0]

    def start_exchange(self, name: str, payload: bytes | None) -> Any:
        return payload or b""

    async def finish(self) -> Any:
        with self._scope:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                self._poisoned = "cancelled"
                raise
        assert self._interrupted is not None
        raise self._interrupted

    def interrupt(self, error: BaseException) -> None:
        self._interrupted = error
        self._scope.cancel()

    def close_now(self) -> bool:
        self._poisoned = self._poisoned or "closed"
        return True

    async def aclose(self) -> None:
        self._poisoned = self._poisoned or "closed"


class LeastModule:
    def __init__(self, identity: int) -> None:
        self._identity = identity

    @property
    def name(self) -> str:
        return "least"

    @property
    def identity(self) -> int:
        return self._identity

    def new_instance(self) -> Least:
        return Least()


class Slow(Least):
    """It does nothing in one step but what it must."""

    starting = True

    def start(self) -> Any:
        return PENDING

    async def finish(self) -> Any:
        if self.starting:
            self.starting = False
            return await trio.lowlevel.checkpoint()
        return await super().finish()

    def close_now(self) -> bool:
        return False


class SlowModule(LeastModule):
    def new_instance(self) -> Least:
        return Slow()


@pytest.mark.parametrize("kind", [LeastModule, SlowModule])
async def test_least_that_the_protocols_ask_for_serves(kind: type[LeastModule]) -> None:
    """In every way to use an instance: calls, leases, memory, a reload, a close under a call."""

    async def check(instance: Least) -> bool:
        return instance.poisoned is None

    async with open_pool(kind(1), size=2, check=check, max_memory=8, max_uses=50) as pool:
        assert pool.name == "least"
        assert await pool.call("echo", 5) == 5
        assert await pool.exchange("echo", b"abc") == b"abc"
        async with pool.lease() as lease, pool.lease() as other:
            assert await lease.call("echo", 6) == 6
            assert await other.exchange("echo", b"d") == b"d"
            lease.memory.write(2, b"xy")
            assert lease.memory.read(2, 2) == b"xy"
            assert lease.memory.size == 8
        with trio.move_on_after(0):
            await pool.call(SPIN)
        assert await pool.reload(kind(2)) == 2
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_revoked, pool.call)
            await wait_all_tasks_blocked()
            await pool.aclose(grace=0)
    assert pool.statistics().retired["closed"] >= 1


async def expect_revoked(call: Any) -> None:
    with pytest.raises(LeaseRevoked):
        await call(SPIN)


async def test_what_lacks_a_member_is_refused_by_type_checkers() -> None:
    """Each member of a module and of an instance is asked for."""
    memory: Memory = FewBytes()
    instance: Instance = Least()
    modules: list[Module] = [LeastModule(1), SlowModule(1)]
    assert memory
    assert instance
    assert modules

    class Nameless:
        identity = 1

        def new_instance(self) -> Least:
            return Least()

    with pytest.raises(TypeError, match="a pool takes a compiled module"):
        open_pool(Nameless())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    class Deaf:
        """It cannot be interrupted."""

        memory = FewBytes()
        memory_size = 0
        poisoned = None
        start = Least.start
        run_call = Least.run_call
        run_exchange = Least.run_exchange
        run_program = Least.run_program
        start_call = Least.start_call
        start_exchange = Least.start_exchange
        finish = Least.finish
        close_now = Least.close_now
        aclose = Least.aclose

    class MakesDeaf:
        name = "deaf"
        identity = 1

        def new_instance(self) -> Deaf:
            return Deaf()

    open_pool(MakesDeaf())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
