"""By what core types a value is passed: how the canonical ABI flattens types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from .paired_types import Unpairable
from .type_space import (
    PRIMITIVES,
    EnumType,
    FlagsType,
    HandleType,
    ListType,
    OptionType,
    PrimitiveType,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .type_space import Definition, FunctionType, TypeSpace

__all__ = ["Flattening"]

_MOST_PARAMS: Final = 16
"""Core parameters: of more, a pointer to all of them is passed."""
_MOST_DEEP: Final = 50
_WIDE: Final = {"s64": "i64", "u64": "i64", "f32": "f32", "f64": "f64"}
_FLAGS_IN_ONE: Final = 32


@final
class Flattening:
    """Flattens types, each once, and none to more than it matters for."""

    def __init__(self) -> None:
        self._known: dict[int, list[str]] = {}
        """By the definition's `id`: a type may have any number of indices."""

    def core_function(self, space: TypeSpace, type_: FunctionType) -> tuple[list[str], list[str]]:
        """Return the core types of a lifted function's parameters, and of its result.

        Raises:
            Unpairable: it has a type that is not known.
        """
        params = self.joined_in_order(space, [each for _, each in type_.params], 0)
        results = [] if type_.result is None else self.of(space, type_.result, 0)
        return (
            ["i32"] if len(params) > _MOST_PARAMS else params,
            ["i32"] if len(results) > 1 else results,
        )

    def of(self, space: TypeSpace, index: int, level: int) -> list[str]:
        if index < 0:
            name = PRIMITIVES.get(index, "")
            return ["i32", "i32"] if name == "string" else [_WIDE.get(name, "i32")]
        found = space.find(index)
        if found is None or level > _MOST_DEEP:
            raise Unpairable
        key = id(found[1])
        if key not in self._known:
            self._known[key] = self._flat(*found, level + 1)[: _MOST_PARAMS + 1]
        return self._known[key]

    def joined_in_order(self, space: TypeSpace, parts: Iterable[int], level: int) -> list[str]:
        flat: list[str] = []
        for each in parts:
            flat += self.of(space, each, level)
            if len(flat) > _MOST_PARAMS:
                break
        return flat

    def _flat(self, space: TypeSpace, definition: Definition, level: int) -> list[str]:  # noqa: PLR0911 - a table
        match definition:
            case PrimitiveType(index):
                return self.of(space, index, level)
            case ListType():
                return ["i32", "i32"]
            case RecordType(fields):
                return self.joined_in_order(space, [each for _, each in fields], level)
            case TupleType(elements):
                return self.joined_in_order(space, elements, level)
            case VariantType(cases):
                return self._cases(space, [each for _, each in cases], level)
            case OptionType(payload):
                return self._cases(space, [payload], level)
            case ResultType(ok, err):
                return self._cases(space, [ok, err], level)
            case FlagsType(names):
                return ["i32"] * max(1, -(-len(names) // _FLAGS_IN_ONE))
            case EnumType() | HandleType():
                return ["i32"]
            case _:
                raise Unpairable

    def _cases(self, space: TypeSpace, cases: Sequence[int | None], level: int) -> list[str]:
        """The discriminant, then for each place a type that holds those of all cases."""
        joined: list[str] = []
        for case in cases:
            for k, core in enumerate([] if case is None else self.of(space, case, level)):
                if k == len(joined):
                    joined.append(core)
                elif joined[k] != core:
                    joined[k] = "i32" if {joined[k], core} == {"i32", "f32"} else "i64"
        return ["i32", *joined]
