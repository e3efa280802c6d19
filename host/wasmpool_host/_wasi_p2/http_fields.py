"""``fields`` of ``wasi:http/types``: the headers of a request or of a reply."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias, final

from wasmpool_host._errors import GuestMemoryError
from wasmpool_host._wit_values import Variant

from .failure import Unsuccessful
from .http_memory import MOST_BYTES, MemoryIsFull, Share
from .resource import Resource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .http_memory import HttpMemory

__all__ = ["Entries", "Fields", "memory_size"]

Entries: TypeAlias = "list[tuple[str, bytes]]"
"""Names in their original case, and values, in their order."""

_MOST_ENTRIES: Final = 1000
_MOST_SIZE: Final = 100 * 1024
"""Bytes of names and values together. Servers accept less."""
_OF_AN_ENTRY: Final = 150
"""Bytes of the host's memory for an entry, beside its name and its value."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_NOT_IN_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # section 5.5

# The host sets these. A guest that sets Host could evade a list of allowed hosts.
_FORBIDDEN: Final = frozenset(
    {
        "connection",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    }
)


@final
class Fields(Resource):
    """Names and values."""

    __slots__ = ("_entries", "_is_mutable", "_share")

    # Invariant: what a guest puts in is valid, and within the bounds.

    def __init__(self, entries: Entries, share: Share, *, is_mutable: bool = True) -> None:
        """``share`` is of these entries; all fields that have them have it."""
        self._entries = entries
        self._share = share
        self._is_mutable = is_mutable

    @classmethod
    def new(cls, memory: HttpMemory) -> Fields:
        """Fields without entries."""
        return cls([], Share(memory))

    @classmethod
    def from_list(cls, entries: Sequence[tuple[str, bytes]], memory: HttpMemory) -> Fields:
        """Check what a guest gives, and take a copy."""
        _check_bounds(entries)
        for name, value in entries:
            _check(name, value)
        made = cls.new(memory)
        made._replace(list(entries))
        return made

    @property
    def memory(self) -> HttpMemory:
        """What they take their bytes of."""
        return self._share.memory

    def entries(self) -> Entries:
        """All of them."""
        return list(self._entries)

    def as_immutable(self) -> Fields:
        """The same fields, which cannot be changed by this handle."""
        return Fields(self._entries, self._share, is_mutable=False)

    def clone(self) -> Fields:
        """A copy that can be changed.

        Raises:
            GuestMemoryError: there is no room for it, and the contract knows no error of it.
        """
        share = Share(self.memory)
        try:
            share.resize(memory_size(self._entries))
        except MemoryIsFull:
            message = f"wasi:http: the headers and bodies have {MOST_BYTES:,} bytes, and no more"
            raise GuestMemoryError(message) from None
        return Fields(list(self._entries), share)

    def get(self, name: str) -> list[bytes]:
        """The values of a name, whatever its case."""
        lower = name.lower()
        return [value for each, value in self._entries if each.lower() == lower]

    def has(self, name: str) -> bool:
        """True if there is a value."""
        return bool(self.get(name))

    def set(self, name: str, values: Sequence[bytes]) -> None:
        """Put these values in the place of those of a name."""
        self._check_mutable()
        _check_bounds([(name, value) for value in values[: _MOST_ENTRIES + 1]])
        for value in values:
            _check(name, value)
        kept = self._without(name)
        added = [(name, value) for value in values]
        _check_bounds(kept + added)
        self._replace(kept + added)

    def delete(self, name: str) -> None:
        """Remove the values of a name."""
        self._check_mutable()
        if not _TOKEN.fullmatch(name):
            raise Unsuccessful(Variant("invalid-syntax"))
        self._replace(self._without(name))

    def append(self, name: str, value: bytes) -> None:
        """Add a value to those of a name."""
        self._check_mutable()
        _check(name, value)
        more = [*self._entries, (name, value)]
        _check_bounds(more)
        self._replace(more)

    def _without(self, name: str) -> Entries:
        lower = name.lower()
        return [entry for entry in self._entries if entry[0].lower() != lower]

    def _replace(self, entries: Entries) -> None:
        """Put these entries in the place of all, if there is room."""
        try:
            self._share.resize(memory_size(entries))
        except MemoryIsFull:
            raise Unsuccessful(Variant("forbidden")) from None
        self._entries[:] = entries

    def _check_mutable(self) -> None:
        if not self._is_mutable:
            raise Unsuccessful(Variant("immutable"))


def _check(name: str, value: bytes) -> None:
    if not _TOKEN.fullmatch(name) or _NOT_IN_VALUE.search(value):
        raise Unsuccessful(Variant("invalid-syntax"))
    if name.lower() in _FORBIDDEN:
        raise Unsuccessful(Variant("forbidden"))


def _check_bounds(entries: Sequence[tuple[str, bytes]]) -> None:
    """Refuse more than a server would take. The contract has no other word for it."""
    if len(entries) > _MOST_ENTRIES or _size(entries) > _MOST_SIZE:
        raise Unsuccessful(Variant("forbidden"))


def memory_size(entries: Sequence[tuple[str, bytes]]) -> int:
    """Return how many bytes of the host's memory entries take."""
    return _size(entries) + _OF_AN_ENTRY * len(entries)


def _size(entries: Sequence[tuple[str, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in entries)
