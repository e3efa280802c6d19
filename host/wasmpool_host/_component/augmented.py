"""What `augment` adds to a component, as the rest of the package uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BATCH", "HIDDEN", "Augmented", "PairedImport", "RawFunction"]

HIDDEN: Final = "wasmpool-"
"""What the names of the exports, and of the imports, begin with."""


BATCH: Final = 16
"""Sizes for which a guest's allocator is called in one crossing."""


@attrs.frozen
class RawFunction:
    """An export with pairs, beside the one that it stands for.

    Attributes:
        call: the name of the export.
        realloc: that of the guest's allocator; None if there is none.
        end: that of what ends a call, after the result was read; None if there is none.
        memory: the number of the memory that the bytes are in.
        takes_bytes: True if there are bytes or strings in the parameters.
        returns_bytes: True if there is a ``list<u8>`` in the result.
    """

    call: str
    realloc: str | None
    end: str | None
    memory: int
    takes_bytes: bool
    returns_bytes: bool


@attrs.frozen
class PairedImport:
    """An imported function with pairs, beside the one that it stands for.

    Attributes:
        interface: of the function that it stands for; ``""`` at the root.
        name: of that function.
        memory: the number of the memory that the bytes are in.
        realloc: the name that the guest's allocator is shown by; None if it is not needed.
        allocate: that of a function that calls it for up to `BATCH` sizes.
    """

    interface: str
    name: str
    memory: int
    realloc: str | None
    allocate: str | None


@attrs.frozen
class Augmented:
    """A component with more in it.

    Attributes:
        binary: the component.
        memories: how many memories are shown.
        raw: functions by the name of the export that they stand for.
        drops: names of functions that drop a resource.
        imports: imported functions by their interface and their name.
        names: those of all imports, in the order that they had before.
    """

    binary: bytes
    memories: int
    raw: Mapping[str, RawFunction]
    drops: tuple[str, ...]
    imports: Mapping[tuple[str, str], PairedImport]
    names: tuple[str, ...]
