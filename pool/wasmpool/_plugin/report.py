"""Parts of the reports of ``wasmpool inspect``, which are the same for all kinds of plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmpool_host import MemoryType

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

__all__ = ["exports_text", "imports_text", "memory_text", "shown", "table"]

_PAGE: Final = 65_536


def imports_text(imports: Iterable[tuple[str, object, bool]]) -> str:
    """Return a table of the imports: names, types, and True for what this host provides."""
    rows = [
        (name, f"{type_}  {'provided' if provided else 'NOT PROVIDED by this host'}")
        for name, type_, provided in imports
    ]
    return table("Imports", rows)


def exports_text(exports: Mapping[str, object], mark: str, marked: Container[str]) -> str:
    """Return a table of the exports; some of them have a mark."""
    rows = [
        (name, f"{type_}{f'  ({mark})' if name in marked else ''}")
        for name, type_ in exports.items()
    ]
    return table("Exports", rows)


def table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Return rows of a name and a text below a title."""
    if not rows:
        return f"{title}: none"
    width = max(len(name) for name, _ in rows)
    return "\n".join([title, *(shown(f"  {name:{width}}  {text}") for name, text in rows)])


def memory_text(exports: Mapping[str, object]) -> str:
    """Return a line on the exported memory."""
    memory = exports.get("memory")
    if not isinstance(memory, MemoryType):
        return "Memory: none exported"
    limit = "no maximum of its own"
    if memory.maximum is not None:
        limit = f"at most {_mib(memory.maximum)}"
    return f"Memory: starts with {_mib(memory.minimum)}, {limit}"


def _mib(pages: int) -> str:
    return f"{pages * _PAGE / (1 << 20):,.1f} MiB"


def shown(text: str) -> str:
    """Replace the characters that a terminal would read as commands."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
