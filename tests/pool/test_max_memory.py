"""``max_memory`` sees every memory, whatever its guest calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.pool.seams import retired

from wasmpool._pool.pool import open_pool
from wasmpool_host import Limits, Module

if TYPE_CHECKING:
    from wasmpool_host import Instance

PAGE = 65_536
NAMES = ['(export "memory")', '(export "mem")', '(export "")', '(export "a") (export "b")', ""]


async def compiled(name: str, version: int = 1, limits: Limits | None = None) -> Module:
    return await Module.compile(
        f"""(module (memory {name} 1)
          (func (export "version") (result i32) i32.const {version})
          (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
          (func (export "spin_and_grow") (param i64) (result i32)
            (loop $again
              (local.set 0 (i64.sub (local.get 0) (i64.const 1)))
              (br_if $again (i64.gt_s (local.get 0) (i64.const 0))))
            (memory.grow (i32.const 3))))""",
        limits=limits,
    )


@pytest.mark.parametrize("name", NAMES)
async def test_memory_above_the_limit_retires_its_instance(name: str) -> None:
    """By calls of one step, calls in a thread, and in the midst of a lease; up to it is fine."""
    async with open_pool(await compiled(name), size=1, max_memory=3 * PAGE) as pool:
        assert await pool.call("grow", 2) == 1
        assert retired(pool) == {}
        assert await pool.call("grow", 1) == 3
        assert retired(pool) == {"memory": 1}
        assert await pool.call("spin_and_grow", 5_000_000) == 1
        assert retired(pool) == {"memory": 2}
        async with pool.lease() as lease:
            for size in (1, 2, 3):
                assert await lease.call("grow", 1) == size
            assert retired(pool) == {"memory": 2}
        assert retired(pool) == {"memory": 3}


@pytest.mark.parametrize("name", NAMES)
async def test_memory_that_a_setup_grows_is_counted(name: str) -> None:
    """After the first lease."""

    async def setup(instance: Instance) -> None:
        await instance.call("grow", 3)

    async with open_pool(await compiled(name), size=1, max_memory=3 * PAGE, setup=setup) as pool:
        await pool.call("version")
        assert retired(pool) == {"memory": 1}


@pytest.mark.parametrize("name", NAMES)
async def test_memory_of_a_module_that_a_reload_brings_is_counted(name: str) -> None:
    """Whatever the first module calls its own."""
    async with open_pool(await compiled('(export "memory")'), max_memory=3 * PAGE) as pool:
        await pool.reload(await compiled(name, version=2))
        assert await pool.call("version") == 2
        await pool.call("grow", 3)
        assert retired(pool) == {"replaced": 1, "memory": 1}


@pytest.mark.parametrize("name", NAMES)
async def test_limit_of_the_guest_holds_by_whatever_name(name: str) -> None:
    """It is refused more, as WebAssembly has it."""
    module = await compiled(name, limits=Limits(memory=3 * PAGE))
    async with open_pool(module, max_memory=8 * PAGE) as pool:
        assert await pool.call("grow", 3) == -1
        assert await pool.call("grow", 2) == 1
        assert retired(pool) == {}
