"""From parts to a binary: sections, some of them replaced, in the order of the format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmpool_host._compile.encoding import signed, sized, unsigned, vector

from .anatomy import Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .anatomy import Anatomy, Export, Memory

__all__ = ["assemble", "constant", "export_section", "extended", "memory_type", "offset"]

_MODULE: Final = b"\0asm\1\0\0\0"
_END: Final = b"\x0b"
_CONST: Final = {0x7F: b"\x41", 0x7E: b"\x42", 0x7D: b"\x43", 0x7C: b"\x44", 0x7B: b"\xfd\x0c"}
_BITS: Final = {0x7F: 32, 0x7E: 64}


def assemble(anatomy: Anatomy, changed: Mapping[int, bytes | None]) -> bytes:
    """Write the module with these sections replaced, left out (None), or added."""
    parts = [_MODULE]
    ahead = [
        (Section.ORDER[section], section, content)
        for section, content in changed.items()
        if content is not None and section not in dict(anatomy.sections)
    ]
    ahead.sort(reverse=True)
    # Sections that are new come before the first that has its place behind theirs; at the end they
    # come before the custom sections there, whose tools may want to be last.
    last = max((at for at, (section, _) in enumerate(anatomy.sections) if section), default=-1)
    for at, (section, content) in enumerate(anatomy.sections):
        while ahead and (at > last or (section and ahead[-1][0] < Section.ORDER[section])):
            _, added, body = ahead.pop()
            parts.append(_section(added, body))
        kept = changed.get(section, content) if section else content
        if kept is not None:
            parts.append(_section(section, kept))
    parts += [_section(added, body) for _, added, body in reversed(ahead)]
    return b"".join(parts)


def extended(anatomy: Anatomy, section: int, items: Iterable[bytes]) -> bytes:
    """Write a section with more items at its end."""
    added = list(items)
    content = dict(anatomy.sections).get(section, b"\0")
    count = at = 0
    while True:
        byte = content[at]
        count |= (byte & 0x7F) << 7 * at
        at += 1
        if byte < 0x80:
            return unsigned(count + len(added)) + content[at:] + b"".join(added)


def export_section(exports: Iterable[Export]) -> bytes:
    """Write the exports."""
    return vector(
        sized(export.name.encode()) + bytes([export.kind]) + unsigned(export.index)
        for export in exports
    )


def memory_type(memory: Memory, pages: int) -> bytes:
    """Write a memory's type, with another size at the start."""
    maximum = b"" if memory.maximum is None else unsigned(memory.maximum)
    return bytes([memory.flags]) + unsigned(pages) + maximum


def constant(encoded: bytes, value: bytes) -> bytes:
    """Write the expression of a number or vector, which is given as in memory, or of a null.

    ``encoded`` is the type. A null is given without bytes.
    """
    code = encoded[0]
    if code in _BITS:
        return _CONST[code] + signed(int.from_bytes(value, "little", signed=True)) + _END
    if code in _CONST:
        return _CONST[code] + value + _END
    heap = encoded[1:] or encoded
    return b"\xd0" + heap + _END


def offset(memory: Memory, address: int) -> bytes:
    """Write the expression of an address in a memory."""
    code, bits = (0x7E, 64) if memory.is_wide else (0x7F, 32)
    return constant(bytes([code]), address.to_bytes(bits // 8, "little"))


def _section(number: int, content: bytes) -> bytes:
    return bytes([number]) + sized(content)
