"""What the modules of a script can import, and what a `LinkError` says of what they cannot."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import attrs
from tests.spec.spectest import KINDS, PRINTERS
from tests.spec.values import HOST_TYPES
from tests.spec.verdict import Why
from tests.spec.world import Guest

from wasmpool_host import (
    Caller,
    FunctionType,
    GlobalType,
    HostFunction,
    MemoryType,
    TableType,
    TagType,
    host_function,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmpool_host import LinkError, Module

__all__ = ["Absent", "Links"]

_LINE: Final = re.compile(
    r"  (?P<name>.*): (?:\((?P<params>.*)\) -> \((?P<results>.*)\)"
    r"|(?:[\w-]+ )*?(?P<kind>memory|table|global|tag)\b.*)"
)
"""One import in a `LinkError`."""

_HINT: Final = re.compile(r" \((?:the host function of that name is|there is) .*\)$")
"""What may stand behind it."""

_KINDS: Final = {
    FunctionType: "function",
    GlobalType: "global",
    MemoryType: "memory",
    TableType: "table",
    TagType: "tag",
}


@attrs.frozen
class Absent:
    """A module of the script that there is no instance of; ``why`` is None if that is a failure."""

    why: Why | None


class Links:
    """The modules that a script has registered, under the names that others import from."""

    def __init__(self) -> None:
        self._registered: dict[str, Guest | Absent] = {}

    def register(self, name: str, guest: Guest | Absent) -> None:
        """Have later modules import from this one."""
        self._registered[name] = guest

    def host_functions(self) -> list[HostFunction]:
        """All functions that can be imported."""
        return [
            *PRINTERS.values(),
            *(
                _forward(name, field, type_, guest)
                for name, guest in self._registered.items()
                if isinstance(guest, Guest)
                for field, type_ in guest.module.exports.items()
                if isinstance(type_, FunctionType) and _passes(type_)
            ),
        ]

    def linked(self, module: Module) -> list[Guest]:
        """The guests that a module imports from."""
        return [
            guest
            for name, guest in self._registered.items()
            if isinstance(guest, Guest)
            and any(each.startswith(f"{name}.") for each in module.imports)
        ]

    def refusal_of(self, error: LinkError) -> Why | None:
        """Why nothing that a module lacks is provided; None if something should have been."""
        reasons = [self._why_lacking(line) for line in _lines(error)]
        return None if None in reasons else next(iter(reasons), None)

    def lead_astray(self, error: LinkError) -> None:
        """Note which guests a refused module would have changed.

        From then on they are not as the script expects, nor are those that may call them.
        """
        for line in _lines(error):
            guest = self._exporter(line["name"])
            if line["kind"] in ("memory", "table", "global") and isinstance(guest, Guest):
                guest.world.astray = Why.IMPORTS

    def undecided(self, error: LinkError) -> Why | None:
        """The same for a module that must not link: None if it lacks what does not exist at all.

        An import of a memory, table, global or tag is refused whatever its type, so one of a thing
        that exists says nothing about the type.
        """
        return (
            None
            if any(self._is_missing(line) for line in _lines(error))
            else self.refusal_of(error)
        )

    def _is_missing(self, line: re.Match[str]) -> bool:
        """Return True if the script exports nothing of that name and kind."""
        name, kind = line["name"], line["kind"]
        if kind is None:
            return self._why_lacking(line) is None
        return self._absent(name) is None and self._kind(name) != kind

    def _why_lacking(self, line: re.Match[str]) -> Why | None:
        """Why wasmpool, or this runner by means of it, does not provide an import."""
        if line["kind"] is not None:
            return Why.IMPORTS
        types = f"{line['params']}, {line['results']}".split(", ")
        if not HOST_TYPES.issuperset(filter(None, types)):
            return Why.REFERENCES
        absent = self._absent(line["name"])
        return None if absent is None else absent.why

    def _absent(self, import_name: str) -> Absent | None:
        exporter = self._exporter(import_name)
        return exporter if isinstance(exporter, Absent) else None

    def _exporter(self, import_name: str) -> Guest | Absent | None:
        for name, guest in self._registered.items():
            if import_name.startswith(f"{name}."):
                return guest
        return None

    def _kind(self, import_name: str) -> str | None:
        exports: dict[str, str] = {f"spectest.{name}": kind for name, kind in KINDS.items()}
        for name, guest in self._registered.items():
            if isinstance(guest, Guest):
                exports |= {f"{name}.{field}": kind for field, kind in _kinds(guest).items()}
        return exports.get(import_name)


def _kinds(guest: Guest) -> Mapping[str, str]:
    return {field: _KINDS[type(type_)] for field, type_ in guest.module.exports.items()}


def _lines(error: LinkError) -> list[re.Match[str]]:
    """One match for each import that is lacking; none for an error of another form."""
    first, *lines = str(error).split("\n")
    if not first.endswith(" imports what nobody provides:"):
        return []
    found = [_LINE.fullmatch(_HINT.sub("", line)) for line in lines if line.startswith("  ")]
    assert None not in found, error
    return [each for each in found if each is not None]


def _passes(type_: FunctionType) -> bool:
    return HOST_TYPES.issuperset((*type_.params, *type_.results))


def _forward(module: str, field: str, type_: FunctionType, guest: Guest) -> HostFunction:
    """A host function that calls an export of another instance."""
    params: Any = type_.params
    results: Any = type_.results

    @host_function(module, field, params=params, results=results)
    async def forward(_caller: Caller, *args: float) -> Any:
        return await guest.instance.call(field, *args)

    return forward
