"""Which modules are plugins."""

from __future__ import annotations

import pytest

from wasmpool._plugin.contract import REQUIRED, check_abi_version, check_exports, violations
from wasmpool._plugin.errors import AbiError
from wasmpool_host import FunctionType, MemoryType

MALLOC = FunctionType(("i32",), ("i32",))
FREE = FunctionType(("i32",), ())
KEEPS_TO_IT = {
    **REQUIRED,
    "malloc": MALLOC,
    "memory": MemoryType(1, None),
    "other": FunctionType(("f64",), ()),
}


def test_a_plugin_keeps_to_the_contract() -> None:
    """Further exports are its own business."""
    check_exports(KEEPS_TO_IT)
    check_exports({**KEEPS_TO_IT, "compact_specs": FunctionType((), ("i64",))})


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_export_is_named_first(name: str) -> None:
    """The first two words say what to add."""
    exports = {key: type_ for key, type_ in KEEPS_TO_IT.items() if key != name}
    with pytest.raises(AbiError) as caught:
        check_exports(exports)
    assert str(caught.value) == f"{name} {REQUIRED[name]} is missing"


def test_one_spelling_of_malloc_is_enough() -> None:
    """Either is, of the right type; without one no call could have a request."""
    others = {key: type_ for key, type_ in KEEPS_TO_IT.items() if key != "malloc"}
    wrong = FunctionType(("i64",), ("i32",))
    check_exports({**others, "guest_malloc": MALLOC})
    check_exports({**others, "malloc": wrong, "guest_malloc": MALLOC})
    assert list(violations(others)) == [
        ("malloc", "malloc (i32) -> (i32) is missing (guest_malloc would do)")
    ]
    for name in ("malloc", "guest_malloc"):
        ((export, why),) = violations({**others, name: wrong})
        assert export == name
        assert why.startswith(f"{name} is of the wrong type, (i64) -> (i32) instead of")


def test_free_may_be_missing_and_not_wrong() -> None:
    """A guest without one keeps what it answers; one of another type could not be called."""
    wrong = FunctionType(("i32", "i32"), ())
    for name, other in (("free", "guest_free"), ("guest_free", "free")):
        check_exports({**KEEPS_TO_IT, name: FREE})
        check_exports({**KEEPS_TO_IT, name: wrong, other: FREE})
        ((export, why),) = violations({**KEEPS_TO_IT, name: wrong})
        assert export == name
        assert why == f"{name} is of the wrong type, (i32, i32) -> () instead of (i32) -> ()"


def test_the_memory_is_an_export_too() -> None:
    """A request is written there: a plugin that keeps it to itself, or names something else so."""
    others = {key: type_ for key, type_ in KEEPS_TO_IT.items() if key != "memory"}
    assert list(violations(others)) == [("memory", "memory is missing")]
    ((_, why),) = violations({**others, "memory": MALLOC})
    assert why == "memory is of the wrong type, (i32) -> (i32) instead of a memory"


@pytest.mark.parametrize("name", [*REQUIRED, "compact_specs"])
@pytest.mark.parametrize("type_", [FunctionType(("f32",), ()), MemoryType(1, None)])
def test_an_export_of_the_wrong_type_is_named_first(name: str, type_: object) -> None:
    """With the type that it has and the one that it should have."""
    with pytest.raises(AbiError, match=f"^{name} is of the wrong type") as caught:
        check_exports({**KEEPS_TO_IT, name: type_})
    assert str(type_) in str(caught.value)


def test_all_violations_are_told() -> None:
    """One attempt is enough to know everything."""
    with pytest.raises(AbiError) as caught:
        check_exports({})
    for name, type_ in REQUIRED.items():
        assert f"{name} {type_} is missing" in str(caught.value)
    assert [name for name, _ in violations({})] == [*REQUIRED, "memory", "malloc"]


def test_the_owner_of_the_exports_is_named_last() -> None:
    """Of many plugins, the one that is meant."""
    with pytest.raises(AbiError, match=r"^name .*; malloc .* \(module 'p', file '/a/p.wasm'\)$"):
        check_exports({}, "module 'p', file '/a/p.wasm'")


def test_another_abi_version_is_refused_with_both() -> None:
    """The message starts with the plugin's and has the host's."""
    check_abi_version(1)
    with pytest.raises(AbiError, match=r"^ABI version 2 .*this host has 1$"):
        check_abi_version(2)
