"""Changes inside a component's binary: of sections, and of the core modules in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from wasmpool_host._compile.encoding import sized, unsigned
from wasmpool_host._compile.reader import BinaryReader

from .anatomy import Unreadable
from .paired_types import encoded_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .anatomy import Section, Span

__all__ = ["edited", "with_exports"]

_HEADER: Final = 8
_EXPORTS: Final = 7


def edited(
    binary: bytes,
    sections: Sequence[Section],
    edits: Sequence[tuple[Span, bytes]],
    replaced: Mapping[int, bytes],
) -> list[bytes | memoryview]:
    """Return the parts of a component with changes.

    Args:
        binary: the component.
        sections: all of its sections.
        edits: what is inside of sections, and what is to be there; they do not overlap.
        replaced: whole sections, by where their headers are, and what is to be there.
    """
    whole = memoryview(binary)  # its slices are no copies: a component may have many megabytes
    parts: list[bytes | memoryview] = [whole[:_HEADER]]
    left = sorted(edits, key=lambda edit: edit[0].start, reverse=True)
    for section in sections:
        at, end = section.content.start, section.content.end
        if section.header in replaced:
            parts.append(replaced[section.header])
            continue
        if not left or left[-1][0].start > end:
            parts.append(whole[section.header : end])
            continue
        content: list[bytes | memoryview] = []
        while left and left[-1][0].start <= end:
            span, new = left.pop()
            content += (whole[at : span.start], new)
            at = span.end
        content.append(whole[at:end])
        parts.append(bytes((section.number,)) + unsigned(sum(map(len, content))))
        parts += content
    return parts


def with_exports(module: bytes, added: Mapping[str, str]) -> bytes:
    """Return a core module that exports some of its exports once more.

    Args:
        module: the binary.
        added: the names that there are by the new names.

    Raises:
        Unreadable: one of them is not there.
    """
    return _Module(module).with_exports(added)


@final
class _Module(BinaryReader):
    """Finds the exports of a core module."""

    def with_exports(self, added: Mapping[str, str]) -> bytes:
        header = self._at
        for section, end in self._sections():
            if section != _EXPORTS:
                header = end
                continue
            number, first = self._number(), self._at
            items = dict([self._export() for _ in range(number)])
            if not all(old in items for old in added.values()):
                break
            new = b"".join(encoded_text(name) + items[old] for name, old in added.items())
            content = unsigned(number + len(added)) + self._bytes[first:end] + new
            whole = memoryview(self._bytes)
            changed = bytes((_EXPORTS,)) + sized(content)
            return b"".join([whole[:header], changed, whole[end:]])
        raise Unreadable("a core module does not have what is used of it")

    def _export(self) -> tuple[str, bytes]:
        name, start = self._text(), self._at
        self._byte()
        self._number()
        return name, self._bytes[start : self._at]
