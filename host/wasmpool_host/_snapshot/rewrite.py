"""The module whose instances begin in a state: the same code, with other beginnings.

Memories are written as data, mutable globals as constants; tables need nothing, as they have not
changed. What runs once at the start of an instance has run, and is left out. No index in the code
may change, so each segment keeps its number:

* An active segment of data was spent at the start. It becomes a passive one without bytes, which
  code sees no difference to. So does a passive one that was dropped. The memories' own segments
  come behind them.
* A passive segment of elements that was dropped becomes a declared one, which the start drops.

And each function to which the code makes a reference must be named outside of the code: by an
export, an element or a global. Where one of these is left out, a declared segment names the
function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmpool_host._compile.encoding import sized, unsigned, vector
from wasmpool_host._errors import SnapshotError

from .anatomy import AS_FUNCTION, Section
from .assemble import assemble, constant, export_section, memory_type, offset
from .image import segments

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from .anatomy import Anatomy, Element
    from .image import Segment
    from .state import State

__all__ = ["rewritten"]

_SEGMENTS: Final = 10_000
"""Segments of data that the memories are written as, at most, so that compiling them is fast."""

_MOST_SEGMENTS: Final = 100_000
"""Segments of data that a module may have, by the limits of the WebAssembly JS interface, which
Wasmtime keeps."""

_PASSIVE, _DECLARED = 1, 2
"""Flags of segments; 1 alone is passive, both are declared."""


def rewritten(owner: str, anatomy: Anatomy, state: State, spent: Collection[str]) -> bytes:
    """Write the module.

    Args:
        owner: the module, for messages.
        anatomy: its parts.
        state: in which the instances begin.
        spent: the exports that have run and must not run again: they are left out.

    Raises:
        SnapshotError: there is no room for so many segments of data.
    """
    kept = len(anatomy.data) if anatomy.counts_data else 0
    image = segments(state.memories, min(_SEGMENTS, _MOST_SEGMENTS - kept))
    if kept + len(image) > _MOST_SEGMENTS:
        message = f"{owner}: its {kept:,} segments of data leave no room for those of its memory"
        raise SnapshotError(message)
    exports = [export for export in anatomy.exports if export.name not in spent]
    data = [*_kept_data(anatomy, state), *(_encoded(anatomy, segment) for segment in image)]
    changed: dict[int, bytes | None] = {
        Section.START: None,
        Section.EXPORT: export_section(exports),
        Section.DATA: vector(data) if data else None,
    }
    if anatomy.counts_data:
        changed[Section.DATA_COUNT] = unsigned(len(data))
    if anatomy.memories:
        changed[Section.MEMORY] = vector(map(memory_type, anatomy.memories, state.pages))
    if anatomy.globals:
        changed[Section.GLOBAL] = vector(_globals(anatomy, state))
    elements = [*_elements(anatomy, state), *_declared(anatomy, state, spent)]
    if elements:
        changed[Section.ELEMENT] = vector(elements)
    return assemble(anatomy, changed)


def _kept_data(anatomy: Anatomy, state: State) -> Iterator[bytes]:
    """Write the segments that code can name."""
    if anatomy.counts_data:
        for index, data in enumerate(anatomy.data):
            is_there = data.is_passive and index not in state.dropped_data
            yield unsigned(_PASSIVE) + sized(data.content if is_there else b"")


def _encoded(anatomy: Anatomy, segment: Segment) -> bytes:
    """Write an active segment of data."""
    where = b"\2" + unsigned(segment.memory) if segment.memory else b"\0"
    address = offset(anatomy.memories[segment.memory], segment.address)
    return where + address + sized(segment.content)


def _globals(anatomy: Anatomy, state: State) -> Iterator[bytes]:
    for index, each in enumerate(anatomy.globals):
        value = state.globals.get(index)
        encoded = each.kind.encoded
        initial = each.initial if value is None else constant(encoded, value)
        yield encoded + bytes([each.is_mutable]) + initial


def _elements(anatomy: Anatomy, state: State) -> Iterator[bytes]:
    for index, element in enumerate(anatomy.elements):
        yield _element(element, is_dropped=index in state.dropped_elements)


def _element(element: Element, *, is_dropped: bool) -> bytes:
    flags = element.flags | _DECLARED if is_dropped else element.flags
    return unsigned(flags) + element.encoded


def _declared(anatomy: Anatomy, state: State, spent: Collection[str]) -> Iterator[bytes]:
    """Write a segment that names the functions of what is left out, if there are any."""
    functions = {
        export.index
        for export in anatomy.exports
        if export.kind == AS_FUNCTION and export.name in spent
    }
    for index in state.globals:
        functions.update(anatomy.globals[index].functions)
    if functions:
        yield unsigned(_PASSIVE | _DECLARED) + b"\0" + vector(map(unsigned, sorted(functions)))
