"""Values of all WIT types, to a guest, to its host and back, twice over."""

from __future__ import annotations

import copy
import math
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.component.echo import echo_component

from wasmpool_host import Component, Err, Ok, Record, Some, Variant, host_function
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


INTERFACE: Final = "test:echo/host"


async def echoed(
    type_: wit.WitType,
    *values: Any,
    host: Callable[[Any], Any] | None = None,
    interface: str = "",
) -> Any:
    """What comes back of each value."""

    @host_function(interface, "host")
    def give_back(_: object, value: Any) -> Any:
        return value if host is None else host(value)

    text = echo_component(type_, interface)
    component = await Component.compile(text, imports=[give_back])
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


TYPES: Final[st.SearchStrategy[wit.WitType]] = st.recursive(
    st.builds(wit.Primitive, st.sampled_from(sorted(wit.PRIMITIVES))), _larger, max_leaves=6
)


def values(  # noqa: C901, PLR0911, PLR0912 - a table
    type_: wit.WitType | None, *, large: bool = False
) -> st.SearchStrategy[Any]:
    """Values of a type; large ones have so many bytes that these go from memory to memory."""
    if large and type_ == wit.List(wit.Primitive("u8")):
        return st.builds(_longer, st.binary(min_size=1, max_size=50), SIZES)
    if large and type_ == wit.Primitive("string"):
        text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
        return st.builds(_longer, text, SIZES)
    inside = partial(values, large=large)
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
            return st.lists(inside(element), max_size=4)
        case wit.Tuple(elements):
            return st.tuples(*map(inside, elements))
        case wit.Option(payload):
            inner = inside(payload)
            return st.none() | (inner.map(Some) if isinstance(payload, wit.Option) else inner)
        case wit.Result(ok, err):
            return inside(ok).map(Ok) | inside(err).map(Err)
        case wit.Enum(names):
            return st.sampled_from(names)
        case wit.Flags(names):
            return st.frozensets(st.sampled_from(names))
        case wit.Record(fields):
            make = record_maker(tuple(attribute_name(name) for name, _ in fields))
            return st.tuples(*(inside(t) for _, t in fields)).map(make)
        case wit.Variant(cases):
            return st.one_of(
                *(inside(t).map(lambda v, n=n: Variant(n, v)) for n, t in cases)  # type: ignore[misc]  # n is bound
            )
        case _:
            raise TypeError(type_)


def _longer(content: Any, size: int) -> Any:
    return (content * (size // len(content) + 1))[:size]


SIZES: Final = st.sampled_from([0, 600, 5_000, 70_000])


def round_trips(type_: wit.WitType, given_values: list[Any], interface: str = "") -> None:
    back = trio.run(lambda: echoed(type_, *given_values, interface=interface))
    assert back == given_values
    assert [type(each) for each in back] == [type(each) for each in given_values]


_SLOW = [HealthCheck.too_slow]


@settings(max_examples=25, deadline=None, suppress_health_check=_SLOW)
@given(st.data())
def test_every_type_goes_both_ways(data: st.DataObject) -> None:
    """A type of any shape, with values of it."""
    type_ = data.draw(TYPES)
    round_trips(type_, data.draw(st.lists(values(type_), min_size=1, max_size=4)))


LEAVES: Final[st.SearchStrategy[wit.WitType]] = st.sampled_from(
    [wit.Primitive("string"), wit.List(wit.Primitive("u8")), *map(wit.Primitive, ("u8", "f64"))]
)
TYPES_WITH_BYTES: Final[st.SearchStrategy[wit.WitType]] = st.recursive(
    LEAVES, _larger, max_leaves=6
)


@settings(max_examples=40, deadline=None, suppress_health_check=_SLOW)
@given(st.data())
def test_bytes_in_every_type_go_both_ways(data: st.DataObject) -> None:
    """Through a host function in an interface, and as few bytes or many."""
    type_ = data.draw(TYPES_WITH_BYTES)
    large = data.draw(st.booleans())
    given_values = data.draw(st.lists(values(type_, large=large), min_size=1, max_size=3))
    round_trips(type_, given_values, data.draw(st.sampled_from(["", INTERFACE])))


@pytest.mark.slow
@settings(max_examples=1_500, deadline=None, suppress_health_check=_SLOW)
@given(st.data())
def test_every_type_goes_both_ways_many_times(data: st.DataObject) -> None:
    type_ = data.draw(st.one_of(TYPES, TYPES_WITH_BYTES))
    large = data.draw(st.booleans())
    given_values = data.draw(st.lists(values(type_, large=large), min_size=1, max_size=8))
    round_trips(type_, given_values, data.draw(st.sampled_from(["", INTERFACE])))


# --- edges --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(NUMBERS))
async def test_integers_keep_to_their_edges(name: str) -> None:
    """Both ends go through, and what is beyond them does not."""
    low, high = NUMBERS[name]
    assert await echoed(wit.Primitive(name), low, high, 0) == [low, high, 0]
    for wrong in (low - 1, high + 1, 1.5, "1", None):
        with pytest.raises(TypeError, match=rf"argument 'x': give an int from .* \({name}\), not"):
            await echoed(wit.Primitive(name), wrong)


async def test_text_of_every_plane() -> None:
    text = "a\0\x7f\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"
    assert await echoed(wit.Primitive("string"), "", text) == ["", text]
    assert await echoed(wit.Primitive("char"), *text) == list(text)


async def test_floats_are_exact() -> None:
    numbers = [0.0, -0.0, 1.5, math.inf, -math.inf, 2**24, 1e-45]
    for name in ("f32", "f64"):
        back = await echoed(wit.Primitive(name), *numbers, math.nan)
        assert [math.copysign(1, each) for each in back[:2]] == [1, -1]
        assert math.isnan(back[-1])
    assert (await echoed(wit.Primitive("f64"), 5e-324, 1.7e308)) == [5e-324, 1.7e308]


async def test_an_option_of_an_option_tells_its_three_values_apart() -> None:
    type_ = wit.Option(wit.Option(wit.Primitive("u8")))
    values_ = [None, Some(None), Some(7)]
    assert await echoed(type_, *values_) == values_
    with pytest.raises(TypeError, match=r"give Some\(value\) or None"):
        await echoed(type_, 7)


# --- what else is accepted ------------------------------------------------------------------------

POINT = wit.Record((("x", wit.Primitive("u8")), ("from", wit.List(wit.Primitive("s16")))))


async def test_a_record_is_an_object_with_attributes() -> None:
    """Mappings and other objects are accepted; what comes back is frozen."""
    given_ = [{"x": 1, "from": [2]}, {"x": 1, "from_": [2]}, SimpleNamespace(x=1, from_=[2])]
    back = await echoed(POINT, *given_)
    assert back[0] == back[1] == back[2]
    assert isinstance(back[0], Record)
    assert (back[0].x, back[0].from_) == (1, [2])
    assert repr(back[0]) == "Record(x=1, from_=[2])"
    assert copy.deepcopy(back[0]) == back[0]
    assert back[0] != record_maker(("x", "from_"))([2, []])
    assert back[0] != record_maker(("x", "y"))([1, [2]])
    with pytest.raises(AttributeError, match="cannot be changed"):
        back[0].x = 2
    with pytest.raises(AttributeError, match="cannot be changed"):
        del back[0].x
    with pytest.raises(AttributeError, match=r"no field 'z'; its fields are x, from_"):
        _ = back[0].z
    assert await echoed(POINT, back[0]) == [back[0]]


async def test_other_forms_of_a_value_are_accepted() -> None:
    cases = wit.Variant((("none", None), ("some", wit.Primitive("u8"))))
    assert await echoed(cases, "none", Variant("some", 3)) == [Variant("none"), Variant("some", 3)]
    flags = wit.Flags(("read", "write"))
    assert await echoed(flags, {"write"}, ["read", "read"], ()) == [{"write"}, {"read"}, set()]
    pair = wit.Tuple((wit.Primitive("u8"), wit.Primitive("bool")))
    assert await echoed(pair, [1, True]) == [(1, True)]
    assert await echoed(wit.List(wit.Primitive("u32")), (1, 2)) == [[1, 2]]
    assert await echoed(wit.List(wit.Primitive("u8")), bytearray(b"ab"), [1]) == [b"ab", b"\1"]


# --- what does not fit ----------------------------------------------------------------------------

SINGLE = wit.Tuple((wit.Primitive("u8"),))
DEEP = wit.Record((("a", wit.List(wit.Tuple((wit.Primitive("u8"), wit.Option(POINT))))),))


@pytest.mark.parametrize(
    ("type_", "value", "message"),
    [
        (wit.Primitive("bool"), 1, "argument 'x': give a bool, not 1"),
        (wit.Primitive("char"), "ab", "argument 'x': give a str of one character (char), not 'ab'"),
        (wit.Primitive("char"), "\udc00", "argument 'x': give a character, not half of one"),
        (wit.Primitive("string"), b"a", "argument 'x': give a str (string), not b'a'"),
        (wit.Primitive("string"), "a\ud800", "argument 'x': give a str that has a form in UTF-8"),
        (wit.Primitive("f32"), 1e300, "argument 'x': give a float or an int that an f32 can hold"),
        (wit.Primitive("f64"), "1", "argument 'x': give a float or an int that an f64 can hold"),
        (wit.List(wit.Primitive("u32")), [1, 2, -3], "argument 'x'[2]: give an int"),
        (wit.List(wit.Primitive("u32")), {1}, "argument 'x': give a list, not {1}"),
        (POINT, {"x": 1}, "argument 'x': field 'from': is missing in"),
        (POINT, {"x": 1, "from": [], "z": 1}, "argument 'x': the record has no field 'z'"),
        (POINT, 7, "argument 'x': field 'x': is missing: give a mapping, or an object with"),
        (
            DEEP,
            {"a": [(1, None), (2, {"x": 1, "from": [0, 1 << 15]})]},
            "argument 'x': field 'a'[1][1]: field 'from'[1]: give an int from -32,768 to 32,767",
        ),
        (SINGLE, (1, 2), "argument 'x': give a tuple of 1, not one of 2"),
        (SINGLE, 1, "argument 'x': give a tuple of 1, not 1"),
        (wit.Enum(("a", "b")), "c", "argument 'x': there is no case 'c'; there are a, b"),
        (wit.Flags(("a", "b")), {"c"}, "argument 'x': there is no flag 'c'; there are a, b"),
        (wit.Flags(("a", "b")), "a", "argument 'x': give a set of names (flags), not 'a'"),
        (
            wit.Variant((("a", wit.Primitive("u8")),)),
            Variant("a", -1),
            "argument 'x': case 'a': give an int",
        ),
        (wit.Variant((("a", None),)), Variant("a", 1), "argument 'x': case 'a': has no value"),
        (wit.Variant((("a", None),)), "b", "argument 'x': there is no case 'b'; there are a"),
        (wit.Variant((("a", None),)), 1, "argument 'x': give a Variant(case, value), not 1"),
        (
            wit.Result(wit.Primitive("u8"), None),
            1,
            "argument 'x': give Ok(value) or Err(value) (result), not 1",
        ),
        (wit.Result(wit.Primitive("u8"), None), Ok(-1), "argument 'x': ok: give an int"),
        (wit.Result(wit.Primitive("u8"), None), Err(1), "argument 'x': err: has no value"),
    ],
)  # fmt: skip
async def test_a_value_that_does_not_fit_is_a_type_error(
    type_: wit.WitType, value: Any, message: str
) -> None:
    """It says where inside the value, and the guest has not run."""
    with pytest.raises(TypeError) as info:
        await echoed(type_, value)
    assert str(info.value).startswith(message)
    assert str(info.value).endswith("echo)")


async def test_a_host_function_has_to_return_what_fits() -> None:
    with pytest.raises(TypeError) as info:
        await echoed(DEEP, {"a": []}, host=lambda _: {"a": [(1, {"x": "y", "from": []})]})
    assert str(info.value).startswith(
        "the result of host function host: field 'a'[0][1]: field 'x': give an int from 0 to 255"
    )


async def test_the_wrong_number_of_arguments_is_a_type_error() -> None:
    @host_function("", "host")
    def host(_: object, x: Any) -> Any:
        return x

    instance = await (
        await Component.compile(echo_component(wit.Primitive("u8")), imports=[host])
    ).instantiate()
    with pytest.raises(TypeError, match=r"echo takes 1 argument \(x: u8\), not 2"):
        await instance.call("echo", 1, 2)
    with pytest.raises(ValueError, match=r"has no export 'ecko'; did you mean 'echo'\?"):
        await instance.call("ecko", 1)
    with pytest.raises(TypeError, match="the name of an export is a str, not 7"):
        await instance.call(7)  # type: ignore[arg-type]  # on purpose
    assert instance.poisoned is None
    await instance.aclose()
