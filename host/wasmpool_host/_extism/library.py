"""A module that a guest is linked to by name, as a manifest with several modules has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from wasmpool_host._compile.binary import outline
from wasmpool_host._compile.source import memory_exports
from wasmpool_host._errors import LinkError
from wasmpool_host._escape import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import wasmtime

    from wasmpool_host._compile.source import Source

__all__ = ["Library", "in_order"]


@final
class Library:
    """Compiled code; equal to that of the same module by the same name.

    Attributes:
        name: what others import its exports by.
        outline: what it imports and exports.
        code: compiled, in the ordinary engine.
        memory_names: the names by which ``code`` exports its memories, one for each.
    """

    __slots__ = ("_digest", "code", "memory_names", "name", "outline")

    def __init__(self, name: str, source: Source, code: wasmtime.Module) -> None:
        self.name = name
        self.outline = source.outline or outline(source.binary)
        self.code = code
        self.memory_names = memory_exports(self.outline)
        self._digest = source.digest

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Library):
            return NotImplemented
        return (self.name, self._digest) == (other.name, other._digest)

    def __hash__(self) -> int:
        return hash((self.name, self._digest))

    def __str__(self) -> str:
        return f"module '{escaped(self.name)}'"


def in_order(libraries: Sequence[Library]) -> tuple[Library, ...]:
    """Return libraries so that each stands behind those that it imports from.

    Raises:
        LinkError: some import each other in a circle; or a program is among them.
    """
    for library in libraries:
        if "_start" in library.outline.exports:
            message = f"{library} is a program, which no other module can be linked to"
            raise LinkError(message)
    ordered: dict[str, Library] = {}
    left = {library.name: library for library in libraries}
    while left:
        ready = [each for each in left.values() if not _wants(each, left)]
        if not ready:
            names = ", ".join(escaped(name) for name in left)
            raise LinkError(f"these modules import from each other in a circle: {names}")
        for each in ready:
            ordered[each.name] = left.pop(each.name)
    return tuple(ordered.values())


def _wants(library: Library, names: Iterable[str]) -> bool:
    wanted = {module for module, _, _ in library.outline.imports}
    return any(name in wanted for name in names)
