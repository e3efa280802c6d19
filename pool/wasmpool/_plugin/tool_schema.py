"""The JSON Schema that a plugin gives for a parameter of a tool, and the schema of all arguments.

A schema is JSON Schema 2020-12, and comes from a guest, which is not trusted. It is checked here so
far that no reader of it fails or is led elsewhere: the depth, the type of each keyword's value, and
that each ``$ref`` leads to a schema within the same parameter. Keywords that move the base of
references, or choose their target while a value is validated, are refused.

Two things are left to those who validate values. A schema may be recursive, and may take many
steps, so they count these. And a ``pattern`` may backtrack for ever: it is never compiled here.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, final

from .errors import AbiError
from .wrong_answer import MAX_TEXT, shown, too_long, wrong_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["input_schema", "read_schema"]

_MAX_DEPTH: Final = 50
"""Levels of lists and objects. A schema for an object in an object takes two."""
_MAX_PARTS: Final = 16
"""Names in a reference, which takes as many steps to follow."""
_MAX_PATH: Final = 60
"""Characters of a place in a schema that a message shows."""

_TYPES: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_DATA: Final = frozenset({"const", "default"})
"""Keywords for which a null is a value."""
_OF_A_DOCUMENT: Final = ("$schema", "$id", "$comment")
"""Keywords that mean nothing once a schema is a part of another one."""

_Path: TypeAlias = "tuple[str, ...]"


def read_schema(where: str, given: dict[str, Any]) -> dict[str, Any]:
    """Check a parameter's schema, and return it without the keywords that say nothing.

    Args:
        where: the parameter, for a message.
        given: the schema, as it was read from JSON; it is changed.

    Raises:
        AbiError: it is not a valid schema, or uses what is not supported.
    """
    _check_values(where, given)
    for keyword in _OF_A_DOCUMENT:
        given.pop(keyword, None)
    check = _Check(where, given)
    check.schema((), given)
    check.references()
    return given


def input_schema(
    parameters: Mapping[str, str], required: Sequence[str], schemas: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the schema of all arguments of a tool, as one JSON Schema object."""
    properties: dict[str, Any] = {}
    for name in dict.fromkeys([*parameters, *schemas, *required]):
        if name in schemas:
            properties[name] = _moved(schemas[name], f"#/properties/{_pointer_part(name)}")
        else:
            description = parameters.get(name)
            said = {"description": description} if description else {}
            properties[name] = {"type": "string", **said}
    needed = {"required": [*dict.fromkeys(required)]} if required else {}
    return {"type": "object", "properties": properties, **needed, "additionalProperties": False}


# --- what is true of all values in a schema ---


def _check_values(where: str, given: object) -> None:
    """Check the depth, level by level, so that no depth is too large, and each value."""
    level: list[object] = [given]
    for _ in range(_MAX_DEPTH):
        inner: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inner += value
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            else:
                _check_value(where, value)
        level = inner
        if not level:
            return
    raise AbiError(f"{where}: the schema has more than {_MAX_DEPTH} levels")


def _check_value(where: str, value: object) -> None:
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise too_long(f"{where}: a text", value, MAX_TEXT)
    if isinstance(value, float) and not isfinite(value):
        raise AbiError(f"{where}: {value} is not a number of JSON")


# --- keywords ---


@final
class _Check:
    """The check of one parameter's schema."""

    def __init__(self, where: str, root: dict[str, Any]) -> None:
        self._where = where
        self._root = root
        self._seen: set[int] = set()  # identities of the schemas within the root
        self._references: dict[str, _Path] = {}  # with the place where each stands first

    def schema(self, path: _Path, given: Any) -> None:
        """Check a schema and those within it. A keyword that is unknown says nothing."""
        if isinstance(given, bool):
            return
        if not isinstance(given, dict):
            raise self._wrong(path, "an object or a boolean", given)
        self._seen.add(id(given))
        empty: list[str] = []
        for keyword, value in given.items():
            if value is None and keyword not in _DATA:
                empty.append(keyword)
            elif keyword in _KEYWORDS:
                _KEYWORDS[keyword](self, (*path, keyword), value)
        for keyword in empty:
            del given[keyword]

    def references(self) -> None:
        """Check that each reference leads to a schema, once all schemas have been seen."""
        for reference, path in self._references.items():
            target = _target(self._root, reference)
            if not isinstance(target, bool) and id(target) not in self._seen:
                self._refuse(path, f"leads to no schema of this parameter: {shown(reference)}")

    # --- values of keywords ---

    def text(self, path: _Path, value: Any) -> None:
        """A string."""
        if not isinstance(value, str):
            raise self._wrong(path, "a string", value)

    def flag(self, path: _Path, value: Any) -> None:
        """True or False."""
        if not isinstance(value, bool):
            raise self._wrong(path, "a boolean", value)

    def number(self, path: _Path, value: Any) -> None:
        """A number."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(path, "a number", value)

    def positive(self, path: _Path, value: Any) -> None:
        """A number above 0."""
        self.number(path, value)
        if value <= 0:
            self._refuse(path, "must be above 0")

    def count(self, path: _Path, value: Any) -> None:
        """An integer of at least 0."""
        self.number(path, value)
        if value < 0 or value != int(value):
            self._refuse(path, "must be an integer of at least 0")

    def values(self, path: _Path, value: Any) -> None:
        """A list of values of any kind."""
        if not isinstance(value, list):
            raise self._wrong(path, "a list", value)

    def names(self, path: _Path, value: Any) -> None:
        """A list of different strings."""
        self.values(path, value)
        for name in value:
            self.text(path, name)
        if len(set(value)) != len(value):
            self._refuse(path, "has an entry twice")

    def types(self, path: _Path, value: Any) -> None:
        """The name of a type, or a list of such names."""
        if isinstance(value, str) and value in _TYPES:
            return
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list):
            raise self._wrong(path, "a string or a list", value)
        self.names(path, names)
        if not names or not _TYPES.issuperset(names):
            self._refuse(path, f"must be of: {', '.join(sorted(_TYPES))}")

    def schemas(self, path: _Path, value: Any) -> None:
        """A list of schemas."""
        self.values(path, value)
        if not value:
            self._refuse(path, "must not be empty")
        for at, each in enumerate(value):
            self.schema((*path, str(at)), each)

    def by_name(self, path: _Path, value: Any) -> None:
        """An object of schemas."""
        self._object(path, value)
        for name, each in value.items():
            self.schema((*path, name), each)

    def names_by_name(self, path: _Path, value: Any) -> None:
        """An object of lists of different strings."""
        self._object(path, value)
        for name, each in value.items():
            self.names((*path, name), each)

    def reference(self, path: _Path, value: Any) -> None:
        """A reference within the parameter's schema."""
        self.text(path, value)
        if value != "#" and not value.startswith("#/"):
            self._refuse(path, f"must be # or begin with #/, not be {shown(value)}")
        if value.count("/") > _MAX_PARTS:
            self._refuse(path, f"has more than {_MAX_PARTS} parts: {shown(value)}")
        self._references.setdefault(value, path)

    def unsupported(self, path: _Path, _value: Any) -> None:
        """A keyword that may harm."""
        self._refuse(path, "is not supported")

    def _object(self, path: _Path, value: Any) -> None:
        if not isinstance(value, dict):
            raise self._wrong(path, "an object", value)

    # --- errors ---

    def _refuse(self, path: _Path, why: str) -> NoReturn:
        raise AbiError(f"{self._at(path)} {why}")

    def _wrong(self, path: _Path, wanted: str, value: object) -> AbiError:
        return wrong_type(self._at(path), wanted, value)

    def _at(self, path: _Path) -> str:
        place = ".".join(path)
        if len(place) > _MAX_PATH:
            place = f"{place[:20]}...{place[-30:]}"
        return f"{self._where}: {shown(place)}" if place else self._where


_ONE: Final = frozenset({
    "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not",
    "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
})  # fmt: skip
"""Keywords that hold a schema."""
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
"""Keywords that hold a list of schemas."""
_BY_NAME: Final = frozenset({
    "$defs", "definitions", "dependentSchemas", "patternProperties", "properties",
})  # fmt: skip
"""Keywords that hold an object of schemas."""

_KEYWORDS: Final[Mapping[str, Callable[[_Check, _Path, Any], None]]] = {
    **dict.fromkeys(_ONE, _Check.schema),
    **dict.fromkeys(_LISTS, _Check.schemas),
    **dict.fromkeys(_BY_NAME, _Check.by_name),
    **dict.fromkeys(
        (
            "title", "description", "format", "pattern", "contentEncoding", "contentMediaType",
            "$comment", "$schema",
        ),
        _Check.text,
    ),
    **dict.fromkeys(("deprecated", "readOnly", "uniqueItems", "writeOnly"), _Check.flag),
    **dict.fromkeys(
        ("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum"), _Check.number
    ),
    **dict.fromkeys(
        (
            "maxContains", "maxItems", "maxLength", "maxProperties",
            "minContains", "minItems", "minLength", "minProperties",
        ),
        _Check.count,
    ),
    "multipleOf": _Check.positive,
    "type": _Check.types,
    "enum": _Check.values,
    "examples": _Check.values,
    "required": _Check.names,
    "dependentRequired": _Check.names_by_name,
    "$ref": _Check.reference,
    **dict.fromkeys(
        (
            "$anchor", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveAnchor", "$recursiveRef",
            "$vocabulary", "dependencies",
        ),
        _Check.unsupported,
    ),
}  # fmt: skip


# --- references: JSON pointers in the fragment of a URI ---


def _target(root: object, reference: str) -> object:
    """Return what a reference leads to; None if that is nothing."""
    from urllib.parse import unquote  # noqa: PLC0415 - few plugins need it

    found = root
    for part in unquote(reference).split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~") if "~" in part else part
        if isinstance(found, dict):
            found = found.get(key)
        elif isinstance(found, list) and key.isdecimal() and key.isascii() and len(key) < 6:
            found = found[int(key)] if int(key) < len(found) else None
        else:
            return None
    return found


def _pointer_part(name: str) -> str:
    from urllib.parse import quote  # noqa: PLC0415 - as above

    return quote(name.replace("~", "~0").replace("/", "~1"), safe="~", errors="replace")


def _moved(schema: Any, root: str) -> Any:
    """Copy a schema, with references that begin at ``root`` instead of ``#``."""
    if not isinstance(schema, dict):
        return schema
    return {keyword: _moved_value(keyword, value, root) for keyword, value in schema.items()}


def _moved_value(keyword: str, value: Any, root: str) -> Any:
    if keyword == "$ref":
        return root + value[1:]
    if keyword in _ONE:
        return _moved(value, root)
    if keyword in _LISTS:
        return [_moved(each, root) for each in value]
    if keyword in _BY_NAME:
        return {name: _moved(each, root) for name, each in value.items()}
    return value
