"""Values of all WIT types, to a guest, to its host and back, twice over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.component.echo import echo_component

from wasmpool_host import Component, Err, Ok, Some, Variant, host_function
from wasmpool_host import _wit as wit
from wasmpool_host._wit_values import attribute_name, record_maker

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = {
    "s8": (-(1 << 7), (1 << 7) - 1),
    "u8": (0, (1 << 8) - 1),
    "s16": (-(1 << 15), (1 << 15) - 1),
    "u16": (0, (1 << 16) - 1),
    "s32": (-(1 << 31), (1 << 31) - 1),
    "u32": (0, (1 << 32) - 1),
    "s64": (-(1 << 63), (1 << 63) - 1),
    "u64": (0, (1 << 64) - 1),
}
WORDS = ("a", "from", "content-type", "x1", "make")


async def echoed(type_: wit.WitType, *values: Any, host: Callable[[Any], Any] | None = None) -> Any:
    """What comes back of each value."""

    @host_function("", "host")
    def give_back(_: object, value: Any) -> Any:
        return value if host is None else host(value)

    component = await Component.compile(echo_component(type_), imports=[give_back])
    instance = await component.instantiate()
    try:
        return [await instance.call("echo", value) for value in values]
    finally:
        await instance.aclose()


# --- every type ---------------------------------------------------------------------------------


def _larger(inner: st.SearchStrategy[wit.WitType]) -> st.SearchStrategy[wit.WitType]:
    names = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique=True)
    fields = names.flatmap(lambda n: st.tuples(*(st.tuples(st.just(each), inner) for each in n)))
    cases = names.flatmap(
        lambda n: st.tuples(*(st.tuples(st.just(each), st.none() | inner) for each in n))
    )
    return st.one_of(
        st.builds(wit.List, inner),
        st.builds(wit.Option, inner),
        st.builds(wit.Result, st.none() | inner, st.none() | inner),
        st.builds(wit.Tuple, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(wit.Record, fields),
        st.builds(wit.Variant, cases),
        st.builds(wit.Enum, names.map(tuple)),
        st.builds(wit.Flags, names.map(tuple)),
    )


TYPES: Final = st.recursive(
    st.builds(wit.Primitive, st.sampled_from(sorted(wit.PRIMITIVES))), _larger, max_leaves=6
)


def values(type_: wit.WitType | None) -> st.SearchStrategy[Any]:  # noqa: C901, PLR0911, PLR0912 - a table
    match type_:
        case None:
            return st.none()
        case wit.Primitive("bool"):
            return st.booleans()
        case wit.Primitive("char"):
            return st.characters(exclude_categories=["Cs"])
        case wit.Primitive("string"):
            return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
        case wit.Primitive("f32"):
            return st.floats(width=32, allow_nan=False)
        case wit.Primitive("f64"):
            return st.floats(allow_nan=False)
        case wit.Primitive(name):
            return st.integers(*NUMBERS[name])
        case wit.List(wit.Primitive("u8")):
            return st.binary(max_size=50)
        case wit.List(element):
            return st.lists(values(element), max_size=4)
        case wit.Tuple(elements):
            return st.tuples(*map(values, elements))
        case wit.Option(payload):
            inner = values(payload)
            return st.none() | (inner.map(Some) if isinstance(payload, wit.Option) else inner)
        case wit.Result(ok, err):
            return values(ok).map(Ok) | values(err).map(Err)
        case wit.Enum(names):
            return st.sampled_from(names)
        case wit.Flags(names):
            return st.frozensets(st.sampled_from(names))
        case wit.Record(fields):
            make = record_maker(tuple(attribute_name(name) for name, _ in fields))
            return st.tuples(*(values(t) for _, t in fields)).map(make)
        case wit.Variant(cases):
            return st.one_of(
                *(values(t).map(lambda v, n=n: Variant(n, v)) for n, t in cases)  # type: ignore[misc]  # n is bound
            )
        case _:
            raise TypeError(type_)


def round_trips(type_: wit.WitType, given_values: list[Any]) -> None:
    back = trio.run(lambda: echoed(type_, *given_values))
    assert back == given_values
    assert [type(each) for each in back] == [type(each) for each in given_values]


_SLOW = [HealthCheck.too_slow]


@settings(max_examples=25, deadline=None, suppress_health_check=_SLOW)
@given(st.data())
def test_every_type_goes_both_ways(data: st.DataObject) -> None:
    """A type of any shape, with values of it."""
    type_ = data.draw(TYPES)
    round_trips(type_, data.draw(st.lists(values(type_), min_size=1, max_size=4)))


@pytest.mark.slow
@settings(max_examples=1_500, deadline=None, suppress_health_check=_SLOW)
@given(st.data())
def test_every_type_goes_both_ways_many_times(data: st.DataObject) -> None:
    type_ = data.draw(TYPES)
    round_trips(type_, data.draw(st.lists(values(type_), min_size=1, max_size=8)))
