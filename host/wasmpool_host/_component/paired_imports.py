"""Imported functions with pairs of integers in place of bytes and strings: see `augment`."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from wasmpool_host._compile.encoding import unsigned

from .anatomy import Span
from .augmented import HIDDEN, PairedImport
from .declarations import Declarations
from .function_types import function_of
from .paired_types import Paired, Unpairable, encoded_text
from .shown import allocate_name
from .type_space import FunctionType, InstanceType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .anatomy import Anatomy
    from .paired_types import PairedTypes
    from .shown import Shown
    from .type_space import TypeSpace

__all__ = ["PairedImports", "Plan", "plan_of"]


@attrs.frozen
class Plan:
    """How a function is imported with pairs: its type, and where the bytes are."""

    type: FunctionType
    memory: int
    realloc: str | None
    allocate: str | None

    def import_of(self, interface: str, name: str) -> PairedImport:
        """Return what is to be known of the function when it stands for another one."""
        return PairedImport(interface, name, self.memory, self.realloc, self.allocate)


def plan_of(
    made: Anatomy,
    shown: Shown,
    types: PairedTypes,
    index: int,
    function: tuple[TypeSpace, FunctionType],
) -> Plan:
    """Return how a function is to be imported.

    Raises:
        Unpairable: it is not to be. It has no pairs; or it is lowered in several ways, or used
            otherwise, too; or its memory or its allocator cannot be shown.
    """
    ways = set(made.lowered.get(index, ()))
    if len(ways) != 1 or index in made.passed:
        raise Unpairable
    (lowered,) = ways
    space, type_ = function
    made.use_again(name for name, _ in type_.params)
    takes = any(types.has_pairs(space, each, Paired.ALL) for _, each in type_.params)
    result = type_.result
    returns = result is not None and types.has_pairs(space, result, Paired.BYTES)
    memory = shown.memories.get(-1 if lowered.memory is None else lowered.memory)
    if memory is None or not (takes or returns) or not lowered.utf8:
        raise Unpairable
    realloc = allocate = None
    if returns:
        realloc = None if lowered.realloc is None else shown.allocator(lowered.realloc)
        if realloc is None:
            raise Unpairable
        allocate = allocate_name(lowered.realloc)
    params = [(name, types.make(space, each, Paired.ALL)) for name, each in type_.params]
    made_result = None if result is None else types.make(space, result, Paired.BYTES)
    return Plan(FunctionType(tuple(params), made_result), memory, realloc, allocate)


@final
class PairedImports:
    """The functions in interfaces: the type of the imported instance has more of them.

    Attributes:
        edits: what to change in the component.
        found: the functions by their interface and their name.
    """

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
        more = Declarations(self._made, type_.space, type_.space.count)
        for index in functions:
            if self._made.imports[index].name in type_.functions:
                try:
                    self._add(type_, more, index)
                except Unpairable:
                    continue
        if more.added:
            number = unsigned(type_.number + len(more.added))
            self.edits.append((Span(type_.counted, type_.declared), number))
            self.edits.append((Span(type_.end, type_.end), b"".join(more.added)))

    def _add(self, type_: InstanceType, more: Declarations, index: int) -> None:
        imported = self._made.imports[index]
        function = function_of(type_.space, type_.functions[imported.name])
        plan = plan_of(self._made, self._shown, more.types, index, function)
        name = f"{HIDDEN}import-{index}"
        more.function(name, plan.type)
        self.edits.append((imported.span, encoded_text(name)))
        interface = self._made.interfaces[imported.instance]
        self.found[interface, name] = plan.import_of(interface, imported.name)
