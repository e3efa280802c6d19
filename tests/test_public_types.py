"""What type checkers make of the public names; run too, so that it cannot drift from the code.

What they must refuse has an ignore beside it: mypy and pyright report one that is not needed.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncIterator
from types import FunctionType
from typing import Any, assert_type

import pytest

import wasmpool
import wasmpool_host
from wasmpool.batch import Row, Rows, map_lines
from wasmpool.example import PATH
from wasmpool_host import lowlevel

SEVEN = """(module (memory (export "memory") 1) (global (export "g") i32 (i32.const 7))
  (func (export "f") (result i32) (i32.const 7)))"""


async def test_a_host_is_typed() -> None:
    """A module, an instance, its memory and its errors."""
    module = assert_type(await wasmpool.Module.compile(SEVEN), wasmpool_host.Module)
    instance = assert_type(await module.instantiate(), wasmpool.Instance)
    assert_type(
        await instance.call("f"), int | float | bytes | tuple[int | float | bytes, ...] | None
    )
    assert_type(instance.globals["g"], int | float | bytes)
    assert_type(instance.memory.read(0, 1), bytes)
    assert_type(instance.poisoned, str | None)
    await instance.aclose()


async def test_a_pool_is_typed() -> None:
    """A pool, a lease and the statistics."""
    module = await wasmpool.Module.compile(SEVEN)
    async with wasmpool.open_pool(module) as pool:
        assert_type(pool, wasmpool.Pool)
        async with pool.lease() as lease:
            assert_type(lease, wasmpool.Lease)
            assert_type(lease.generation, int)
        statistics = assert_type(pool.statistics(), wasmpool.PoolStatistics)
        assert_type(statistics.wait_seconds.quantile(0.5), float)
        assert_type(pool.leases(), tuple[wasmpool.LeaseInfo, ...])
        assert_type(await pool.reload(module), int)
        async with pool.map("f", [()]) as results:
            assert_type(results, AsyncIterator[Any | Exception])


async def test_a_map_of_a_plugin_is_typed() -> None:
    """A result is an answer or an exception, and a type checker asks which."""
    async with (
        wasmpool.open_plugin(PATH, size=1) as plugin,
        plugin.map("echo", [{"message": 1}]) as results,
    ):
        async for result in results:
            assert_type(result, wasmpool.ToolResult | Exception)


async def test_a_map_of_lines_is_typed() -> None:
    """Its rows, whatever the lines are."""
    async with map_lines(PATH, ["a", b"b"], tool="word_count") as rows:
        assert_type(rows, Rows)
        async for row in rows:
            assert_type(row, Row)
            assert_type((row.number, row.data, row.is_error), tuple[int, str, bool])


def test_a_wrong_type_of_a_host_function_is_a_type_error() -> None:
    """To type checkers, in either place, and when it runs."""
    with pytest.raises(
        TypeError, match="params must be a list or a tuple of 'i32', 'i64', 'f32', 'f64' or 'v128'"
    ):
        wasmpool.host_function("env", "f", params=("int",))  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match="params must be a list or a tuple of 'i32', 'i64', 'f32', 'f64' or 'v128'"
    ):
        wasmpool.host_function("env", "f", params="i32")  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match="results must be a list or a tuple of .* 'funcref' is none of them"
    ):
        wasmpool.host_function("env", "f", results=["i32", "funcref"])  # type: ignore[list-item]
    with pytest.raises(
        TypeError, match="results must be a list or a tuple of .* 'I32' is none of them"
    ):
        wasmpool.host_function("env", "f", (), ("I32",))  # type: ignore[arg-type]


def test_the_types_of_a_host_function_are_checked_by_name() -> None:
    """All five of them, as a tuple or as a list."""
    decorate = wasmpool.host_function("env", "f", ("i32", "i64", "v128"), results=["f32", "f64"])
    assert_type(decorate(lambda _caller, _one, _two, _vector: (1.0, 2.0)), wasmpool.HostFunction)


@pytest.mark.parametrize("package", [wasmpool, wasmpool_host, lowlevel])
def test_all_names_are_there_sorted_and_at_home(package: object) -> None:
    """`__all__` is what is exported; errors and classes read as the package's own."""
    names: list[str] = package.__all__  # type: ignore[attr-defined]  # both have it
    assert names == sorted(names, key=lambda name: (not name.isupper(), name))
    for name in names:
        thing = getattr(package, name)
        home = getattr(thing, "__module__", package.__name__)  # type: ignore[attr-defined]
        if package is not lowlevel:
            assert home in {"wasmpool", "wasmpool_host"}, name
        elif isinstance(thing, (type, FunctionType)):
            assert home == lowlevel.__name__, name


USED = {
    wasmpool.Instance: "aclose call exchange globals memories memory poisoned run",
    wasmpool.Module: "compile instantiate snapshot",
    wasmpool.Caller: "call log_extra memory read reply state",
    wasmpool.Memory: "read size write",
}


@pytest.mark.parametrize(("class_", "names"), USED.items())
def test_a_class_shows_its_users_only_what_they_need(class_: type, names: str) -> None:
    """What a pool needs besides is in `wasmpool_host.lowlevel`."""
    assert [name for name in dir(class_) if not name.startswith("_")] == names.split()


async def test_a_module_shows_its_users_only_what_they_need() -> None:
    """Its attributes, too."""
    module = await wasmpool.Module.compile(SEVEN)
    shown = [name for name in dir(module) if not name.startswith("_")]
    assert shown == "compile digest exports imports instantiate limits name snapshot wasi".split()
