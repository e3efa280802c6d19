"""Memories and allocators of a component's core modules, under names that are known."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, final

from wasmpool_host import _capi

from .edits import with_exports

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .anatomy import Anatomy, Span

__all__ = ["Shown", "allocate_name"]

_MOST_MEMORIES: Final = 64
"""Memories, by all their names, that are shown: a module may have 100."""


@final
class Shown:
    """The memories and allocators of core modules, which these export under other names, too."""

    def __init__(self, made: Anatomy) -> None:
        self._made = made
        self._instances = Counter(each for each in made.core_instances if isinstance(each, int))
        """How many instances each module has."""
        self._added: dict[int, dict[str, str]] = {}
        self.memories: dict[int, int] = {}
        """The numbers of the memories that are shown, by their index."""
        self.allocators: set[int] = set()
        """The functions that are shown."""
        for index in range(min(made.count("core memory"), _MOST_MEMORIES)):
            number = len(self.memories)
            if self._show("core memory", index, f"{_capi.SHOWN_MEMORY}{number}"):
                self.memories[index] = number

    def allocator(self, core: int) -> str | None:
        """Show a function; return the name, or None if that cannot be done."""
        name = f"{_capi.SHOWN}realloc-{core}"
        if not self._show("core func", core, name):
            return None
        self.allocators.add(core)
        return name

    def _show(self, sort: str, index: int, name: str) -> bool:
        """Have something exported by a name; return False unless one instance exports it."""
        made = self._made
        alias = made.core_export(sort, index)
        if alias is None:
            return False
        module = made.core_instances[alias.instance]
        if not isinstance(module, int) or module not in made.core_modules:
            return False
        if self._instances[module] > 1:
            return False
        self._added.setdefault(module, {})[name] = alias.name
        return True

    def edits(self, binary: bytes) -> Iterable[tuple[Span, bytes]]:
        """What to change in the component."""
        for module, added in self._added.items():
            span = self._made.core_modules[module].content
            yield span, with_exports(binary[span.start : span.end], added)


def allocate_name(core: int | None) -> str:
    return f"{_capi.SHOWN}allocate-{core}"
