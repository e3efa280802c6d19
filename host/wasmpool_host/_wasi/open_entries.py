"""A listing of one directory, entry by entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .descriptor import Descriptor

if TYPE_CHECKING:
    from .layout import FileType

__all__ = ["OpenEntries"]


class OpenEntries(Descriptor):
    """What is left of a listing. It is a descriptor, as it holds one of the system's, or memory."""

    __slots__ = ()

    def next(self) -> tuple[bytes, FileType] | None:
        """The name and the kind of the next entry; None at the end."""
        raise NotImplementedError
