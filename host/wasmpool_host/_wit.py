"""The types of the component model, as a component's imports and exports have them.

They are printed in the notation of WIT:
https://github.com/WebAssembly/component-model/blob/main/design/mvp/WIT.md. The C API knows no names
of records, variants and the like, so these are printed with what is inside them.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import attrs

from ._escape import escaped

__all__ = [
    "PRIMITIVES",
    "Enum",
    "Flags",
    "Handle",
    "List",
    "Option",
    "Primitive",
    "Record",
    "Resource",
    "Result",
    "Tuple",
    "Unsupported",
    "Variant",
    "WitFunction",
    "WitType",
    "in_message",
]

PRIMITIVES: Final = {
    "bool": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "s32": 4, "u32": 4, "s64": 8, "u64": 8,
    "f32": 4, "f64": 8, "char": 4, "string": 8,
}  # fmt: skip
"""Types without parts, and how many bytes of linear memory a value takes (of a string: its pointer
and size)."""


@attrs.frozen
class Primitive:
    """A number, ``bool``, ``char`` or ``string``."""

    name: str

    def __str__(self) -> str:
        return self.name


@attrs.frozen
class List:
    """``list<element>``."""

    element: WitType

    def __str__(self) -> str:
        return f"list<{self.element}>"


@attrs.frozen
class Record:
    """``record``: fields by name, in order."""

    fields: tuple[tuple[str, WitType], ...]

    def __str__(self) -> str:
        return "record { " + ", ".join(f"{escaped(n)}: {t}" for n, t in self.fields) + " }"


@attrs.frozen
class Tuple:
    """``tuple``."""

    elements: tuple[WitType, ...]

    def __str__(self) -> str:
        return f"tuple<{', '.join(map(str, self.elements))}>"


@attrs.frozen
class Variant:
    """``variant``: cases by name, each with a value or without."""

    cases: tuple[tuple[str, WitType | None], ...]

    def __str__(self) -> str:
        cases = (escaped(n) if t is None else f"{escaped(n)}({t})" for n, t in self.cases)
        return "variant { " + ", ".join(cases) + " }"


@attrs.frozen
class Enum:
    """``enum``: names, of which a value is one."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return "enum { " + ", ".join(map(escaped, self.names)) + " }"


@attrs.frozen
class Flags:
    """``flags``: names, of which a value is any set."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return "flags { " + ", ".join(map(escaped, self.names)) + " }"


@attrs.frozen
class Option:
    """``option<payload>``."""

    payload: WitType

    def __str__(self) -> str:
        return f"option<{self.payload}>"


@attrs.frozen
class Result:
    """``result<ok, err>``; either may have no value."""

    ok: WitType | None
    err: WitType | None

    def __str__(self) -> str:
        if self.err is None:
            return "result" if self.ok is None else f"result<{self.ok}>"
        return f"result<{'_' if self.ok is None else self.ok}, {self.err}>"


@attrs.frozen
class Resource:
    """A resource type.

    Attributes:
        name: ``"interface/resource"``, as the component imports or exports it.
        index: tells it from the component's other resource types.
        imported: True if the host provides it, False if the component does.
    """

    name: str
    index: int
    imported: bool

    def __str__(self) -> str:
        return escaped(self.name.rpartition("/")[2])


@attrs.frozen
class Handle:
    """``own<resource>`` or ``borrow<resource>``."""

    resource: Resource
    owned: bool

    def __str__(self) -> str:
        return f"{'own' if self.owned else 'borrow'}<{self.resource}>"


@attrs.frozen
class Unsupported:
    """A type that is newer than this package: ``stream``, ``future``, ``error-context``."""

    what: str

    def __str__(self) -> str:
        return escaped(self.what)


WitType: TypeAlias = (
    Primitive
    | List
    | Record
    | Tuple
    | Variant
    | Enum
    | Flags
    | Option
    | Result
    | Handle
    | Unsupported
)


@attrs.frozen
class WitFunction:
    """A function of a component: parameters by name, and the type of the result, if it has one.

    ``waits`` is True for an ``async func``, which this package cannot call.
    """

    params: tuple[tuple[str, WitType], ...]
    result: WitType | None
    waits: bool = False

    def __str__(self) -> str:
        params = ", ".join(f"{escaped(name)}: {type_}" for name, type_ in self.params)
        result = "" if self.result is None else f" -> {self.result}"
        return f"{'async ' if self.waits else ''}func({params}){result}"


_LONGEST: Final = 300
"""Characters of a type in a message: one of a guest may have hundreds of thousands."""


def in_message(type_: WitType | WitFunction) -> str:
    """Return a type as a message shows it: shortened if it is long."""
    text = str(type_)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
