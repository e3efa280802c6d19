"""What a component imports and exports, as its text shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from wasmpool_host import _wit
from wasmpool_host._escape import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["ComponentWorld"]


@final
@attrs.frozen
class ComponentWorld:
    """What a component imports and exports; `Component.inspect` makes it. `str` is a report.

    Attributes:
        imports: types of functions and resources by name: ``"interface#name"`` of those in an
            interface. They read as in WIT.
        exports: the same of what it exports.
        missing: names of imports that nobody provides. If there are any, it cannot be compiled.
    """

    imports: Mapping[str, _wit.WitFunction | _wit.Resource]
    exports: Mapping[str, _wit.WitFunction | _wit.Resource]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        lines = [*self._lines("import", self.imports), *self._lines("export", self.exports)]
        return "\n".join(["World", *(f"  {line}" for line in lines)]) if lines else "World: empty"

    def _lines(
        self, word: str, items: Mapping[str, _wit.WitFunction | _wit.Resource]
    ) -> Iterator[str]:
        last = ""
        for name, type_ in items.items():
            interface, _, inner = name.rpartition("#")
            if interface and interface != last:
                yield f"{word} {escaped(interface)}"
            last = interface
            start = "  " if interface else f"{word} "
            text = "resource" if isinstance(type_, _wit.Resource) else str(type_)
            note = "  NOT PROVIDED by this host" if name in self.missing else ""
            yield f"{start}{escaped(inner)}: {text}{note}"
