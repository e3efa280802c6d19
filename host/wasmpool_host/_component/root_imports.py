"""Functions that a component imports at its root, with pairs in place of bytes: see `augment`.

A function at the root has its type among the component's, where no other type can be added: all
that come later would get another index. So an instance with the function is imported in its place,
whose type has types of its own, and the function is taken from that. It has the same index as the
one that it stands for. The instance is one more, so later instances get other indices; there are
few places that refer to them. The function that was imported is imported once more at the end,
where nothing uses it: the host learns its type from that.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, final

from wasmpool_host._compile.encoding import sized, unsigned, vector

from .augmented import HIDDEN, PairedImport
from .declarations import Declarations
from .function_types import function_of
from .paired_imports import plan_of
from .paired_types import Unpairable, encoded_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .anatomy import Anatomy, RootImport, Span
    from .paired_imports import Plan
    from .shown import Shown

__all__ = ["RootImports"]

_ALIAS, _TYPE, _IMPORT = 6, 7, 10


@final
class RootImports:
    """The functions at the root of one component.

    Attributes:
        edits: what to change in the component.
        replaced: sections to replace, by where their headers are.
        parts: what to append.
        found: the functions by their interface and their name.
    """

    def __init__(self, binary: bytes, made: Anatomy, shown: Shown) -> None:
        self._binary = binary
        self._made = made
        self._shown = shown
        self.edits: list[tuple[Span, bytes]] = []
        self.replaced: dict[int, bytes] = {}
        self.parts: list[bytes] = []
        self.found: dict[tuple[str, str], PairedImport] = {}
        self._roots: list[RootImport] = []
        by_type: dict[int, list[int]] = {}
        for index, root in made.root_imports.items() if made.is_whole else ():
            by_type.setdefault(root.type, []).append(index)
        for type_, functions in by_type.items():
            is_shared = made.type_uses.get(type_) != len(functions) or type_ in made.outer_types
            if type_ in made.type_spans and not is_shared:
                self._take(type_, functions)
        self._roots.sort(key=lambda root: root.span.start)
        self._replace_sections()
        self._renumber()

    def _take(self, type_: int, functions: Sequence[int]) -> None:
        """Have all functions of one type imported with pairs, or none."""
        made = self._made
        declared = Declarations(made, made.types, 0, is_outer=True)
        try:
            function = function_of(made.types, type_)
            plans = [
                plan_of(made, self._shown, declared.types, index, function) for index in functions
            ]
        except Unpairable:
            return
        declared.function(_name(type_), plans[0].type)
        span = made.type_spans[type_]
        self.edits.append((span, b"\x42" + vector(declared.added)))
        self.parts.append(_section(_TYPE, self._binary[span.start : span.end]))
        again = made.types.add()
        for index, plan in zip(functions, plans, strict=True):
            self._add(made.root_imports[index], plan, again)

    def _add(self, root: RootImport, plan: Plan, type_: int) -> None:
        self._roots.append(root)
        self.found[_interface(root), _name(root.type)] = plan.import_of("", root.name)
        imported = b"\0" + encoded_text(root.name) + b"\1" + unsigned(type_)
        self.parts.append(_section(_IMPORT, imported))
        self._made.add("func")

    def _replace_sections(self) -> None:
        """Import instances in place of the functions, and take the functions from them."""
        by_place = {root.span: k for k, root in enumerate(self._roots)}
        for section in {root.section for root in self._roots}:
            parts = []
            for span in self._made.import_spans[section]:
                if span not in by_place:
                    parts.append(_section(_IMPORT, self._binary[span.start : span.end]))
                    continue
                added = by_place[span]
                root = self._roots[added]
                name = b"\0" + encoded_text(_interface(root))
                parts.append(_section(_IMPORT, name + b"\5" + unsigned(root.type)))
                instance = unsigned(root.instances + added)
                function = b"\1\0" + instance + encoded_text(_name(root.type))
                parts.append(_section(_ALIAS, function))
            self.replaced[section] = b"".join(parts)

    def _renumber(self) -> None:
        """Have what refers to later instances refer to them by their new indices."""
        before = [root.instances for root in self._roots]
        for span, instance in self._made.instance_uses:
            added = bisect_right(before, instance)
            if added:
                self.edits.append((span, unsigned(instance + added)))


def _name(type_: int) -> str:
    return f"{HIDDEN}import-at-root-{type_}"


def _interface(root: RootImport) -> str:
    return f"{HIDDEN}root-{root.span.start}"


def _section(number: int, item: bytes) -> bytes:
    return bytes((number,)) + sized(vector([item]))
