"""Imported functions with pairs of integers in place of bytes and strings: see `augment`."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from wasmpool_host._compile.encoding import unsigned

from .anatomy import Span
from .augmented import HIDDEN, PairedImport
from .function_types import encoded_function, function_of
from .paired_types import Paired, PairedTypes, Unpairable, encoded_text
from .shown import allocate_name
from .type_space import FunctionType, InstanceType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .anatomy import Anatomy, Imported, Lowered
    from .shown import Shown

__all__ = ["PairedImports"]


@final
class PairedImports:
    """The imported functions with pairs."""

    def __init__(self, made: Anatomy, shown: Shown) -> None:
        self._made = made
        self._shown = shown
        self.edits: list[tuple[Span, bytes]] = []
        self.found: dict[tuple[str, str], PairedImport] = {}
        by_type: dict[int, list[int]] = {}
        for index, imported in made.imports.items() if made.is_whole else ():
            by_type.setdefault(made.instance_types[imported.instance], []).append(index)
        for type_, functions in by_type.items():
            found = made.types.find(type_)
            is_shared = made.type_uses.get(type_) != 1 or type_ in made.outer_types
            if found is not None and isinstance(found[1], InstanceType) and not is_shared:
                self._extend(found[1], functions)

    def _extend(self, type_: InstanceType, functions: Sequence[int]) -> None:
        """Add functions to the type of an instance."""
        more = MoreDeclared(type_)
        for index in functions:
            imported = self._made.imports[index]
            lowered = self._lowered(index)
            if lowered is not None and imported.name in type_.functions:
                try:
                    self._add(type_, more, index, imported, lowered)
                except Unpairable:
                    continue
        self.edits += more.edits()

    def _lowered(self, index: int) -> Lowered | None:
        """How a function is lowered; None if not in one way, or if it is used otherwise, too."""
        ways = set(self._made.lowered.get(index, ()))
        return ways.pop() if len(ways) == 1 and index not in self._made.passed else None

    def _add(
        self,
        type_: InstanceType,
        more: MoreDeclared,
        index: int,
        imported: Imported,
        lowered: Lowered,
    ) -> None:
        space, function = function_of(type_.space, type_.functions[imported.name])
        takes = any(more.types.has_pairs(space, each, Paired.ALL) for _, each in function.params)
        result = function.result
        returns = result is not None and more.types.has_pairs(space, result, Paired.BYTES)
        memory = self._shown.memories.get(-1 if lowered.memory is None else lowered.memory)
        if memory is None or not (takes or returns) or not lowered.utf8:
            return
        realloc = None
        if returns:
            realloc = None if lowered.realloc is None else self._shown.allocator(lowered.realloc)
            if realloc is None:
                return
        params = [(n, more.types.make(space, each, Paired.ALL)) for n, each in function.params]
        made = None if result is None else more.types.make(space, result, Paired.BYTES)
        name = f"{HIDDEN}import-{index}"
        more.function(name, FunctionType(tuple(params), made))
        self.edits.append((imported.span, encoded_text(name)))
        interface = self._made.interfaces[imported.instance]
        allocate = None if realloc is None else allocate_name(lowered.realloc)
        self.found[interface, name] = PairedImport(
            interface, imported.name, memory, realloc, allocate
        )


@final
class MoreDeclared:
    """What is added to the type of an instance."""

    def __init__(self, type_: InstanceType) -> None:
        self._type = type_
        self._count = type_.space.count
        self._added: list[bytes] = []
        self.types = PairedTypes(
            type_.space, define=self._define, name=self._named, resource=lambda index: index
        )

    def _define(self, definition: bytes) -> int:
        self._added.append(b"\1" + definition)
        self._count += 1
        return self._count - 1

    def _named(self, index: int) -> int:
        name = encoded_text(f"{HIDDEN}type-{index}")
        self._added.append(b"\4\0" + name + b"\3\0" + unsigned(index))
        self._count += 1
        return self._count - 1

    def function(self, name: str, type_: FunctionType) -> None:
        index = self._define(encoded_function(type_))
        self._added.append(b"\4\0" + encoded_text(name) + b"\1" + unsigned(index))

    def edits(self) -> list[tuple[Span, bytes]]:
        """What to change in the component."""
        if not self._added:
            return []
        type_ = self._type
        number = unsigned(type_.number + len(self._added))
        return [
            (Span(type_.counted, type_.declared), number),
            (Span(type_.end, type_.end), b"".join(self._added)),
        ]
