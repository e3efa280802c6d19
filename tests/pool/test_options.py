"""The knobs of a pool: each is looked at when the pool is opened."""

from __future__ import annotations

import inspect
import types
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.fakes import FakeModule
from tests.pool.seams import check_invariants

from wasmpool._pool.options import Options
from wasmpool._pool.pool import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.pool.fakes import FakeInstance

WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"size": 0}, ValueError, "size must be at least 1, not 0"),
    ({"size": True}, TypeError, "size must be a whole number, not True"),
    ({"min_size": -1}, ValueError, "min_size must be at least 0, not -1"),
    ({"size": 2, "min_size": 3}, ValueError, "min_size=3 must not be above size=2"),
    ({"name": 1}, TypeError, "name must be a str or None, not 1"),
    ({"name": ""}, ValueError, "name must not be empty; None is the module's own name"),
    ({"instruments": 5}, TypeError, "instruments must be a sequence of instruments, not 5"),
    ({"instruments": "x"}, TypeError, "instruments must be a sequence of instruments, not 'x'"),
    ({"setup": 1}, TypeError, "setup must be a function of an instance or None, not 1"),
    ({"check": "x"}, TypeError, "check must be a function of an instance or None, not 'x'"),
    ({"max_waiting": -1}, ValueError, "max_waiting must be at least 0, not -1"),
    ({"max_waiting": 1.5}, TypeError, "max_waiting must be a whole number, not 1.5"),
    ({"max_wait": -0.1}, ValueError, "max_wait must be 0 or more seconds, not -0.1"),
    ({"max_uses": 0}, ValueError, "max_uses must be at least 1, not 0"),
    ({"max_age": 0}, ValueError, "max_age must be above 0 seconds, not 0"),
    ({"max_idle": "1"}, TypeError, "max_idle must be a number of seconds, not '1'"),
    ({"max_memory": -1}, ValueError, "max_memory must be at least 0, not -1"),
    ({"start_timeout": 0}, ValueError, "start_timeout must be above 0 seconds, not 0"),
    ({"start_timeout": None}, TypeError, "start_timeout must be a number of seconds, not None"),
    ({"grace": -1}, ValueError, "grace must be 0 or more seconds, not -1"),
    ({"grace": float("nan")}, ValueError, "grace must be 0 or more seconds, not nan"),
    ({"grace": 10**400}, ValueError, "grace must be a number of seconds that a float holds, not a larger int"),  # noqa: E501
    ({"max_wait": 10**400}, ValueError, "max_wait must be a number of seconds that a float holds, not a larger int"),  # noqa: E501
    ({"max_generations": 1}, ValueError, "max_generations must be at least 2, not 1"),
    ({"queue_on_close": "drop"}, ValueError, "queue_on_close must be 'fail' or 'serve', not 'drop'"),  # noqa: E501
    ({"leak_after": 0}, ValueError, "leak_after must be above 0 seconds, not 0"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "error", "message"), WRONG)
def test_wrong_option_is_named_with_its_value(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """At once, before anything is started."""
    module = FakeModule()
    with pytest.raises(error) as info:
        open_pool(module, **options)
    assert str(info.value) == message
    assert module.starts == 0


def yields(_: Any) -> Iterator[None]:
    yield


async def yields_in_async(_: Any) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("function", [yields, yields_in_async, partial(yields)])
async def test_setup_or_check_of_which_nothing_would_run_is_refused(function: Any) -> None:
    """Its result is a generator, which nobody runs and which is true."""
    for knob in ("setup", "check"):
        options: dict[str, Any] = {knob: function}
        with pytest.raises(TypeError, match=f"{knob} must not yield"):
            open_pool(FakeModule(), **options)
    async with open_pool(module := FakeModule()) as pool:
        with pytest.raises(TypeError, match="setup must not yield"):
            await pool.reload(module, setup=function)


async def test_setup_that_types_coroutine_made_is_run() -> None:
    """It yields, but it is awaited."""
    done: list[int] = []

    @types.coroutine
    def setup(instance: FakeInstance) -> Any:
        yield from trio.lowlevel.checkpoint().__await__()  # noqa: ASYNC105 - it is, by the caller
        done.append(instance.number)

    async with open_pool(FakeModule(), setup=setup):
        assert done == [1]


def test_defaults_are_the_documented_ones() -> None:
    """As `open_pool` has them."""
    parameters = inspect.signature(open_pool).parameters
    options = Options()
    for name, parameter in parameters.items():
        if name != "module":
            assert parameter.default == getattr(options, name), name


@pytest.mark.parametrize(
    ("size", "min_size", "error", "message"),
    [
        (0, None, ValueError, "size must be at least 1, not 0"),
        (2, 3, ValueError, "min_size=3 must not be above size=2"),
        ("2", None, TypeError, "size must be a whole number, not '2'"),
    ],
)
async def test_resize_to_wrong_bounds_changes_nothing(
    module: FakeModule, size: Any, min_size: Any, error: type[Exception], message: str
) -> None:
    """The bounds are looked at together."""
    async with open_pool(module) as pool:
        with pytest.raises(error) as info:
            await pool.resize(size, min_size)
        assert str(info.value) == message
        statistics = pool.statistics()
        assert (statistics.size, statistics.min_size) == (8, 1)


async def test_min_size_is_clamped_and_does_not_grow_back(module: FakeModule) -> None:
    """Idle excess goes at once; a new min_size is filled in the background."""
    async with open_pool(module, size=4, min_size=3) as pool:
        await pool.resize(2)
        statistics = pool.statistics()
        assert (statistics.size, statistics.min_size, statistics.idle) == (2, 2, 2)
        assert statistics.retired["shrunk"] == 1
        await pool.resize(8)
        assert pool.statistics().min_size == 2
        for min_size in (5, 7):
            await pool.resize(8, min_size)
            statistics = pool.statistics()
            assert statistics.idle + statistics.starting == min_size
            assert statistics.starting > 0
        check_invariants(pool)
