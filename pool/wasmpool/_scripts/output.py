"""What a script prints."""

from __future__ import annotations

from typing import final

from .ended import ScriptEnded

__all__ = ["Output"]


@final
class Output:
    """Keeps both output streams of a script, in the order of writing, up to a bound."""

    __slots__ = ("_kept", "_limit")

    def __init__(self, limit: int) -> None:
        self._kept = bytearray()
        self._limit = limit

    def write(self, data: bytes) -> None:
        """Keep what was written.

        Raises:
            ScriptEnded: it is too much in all; what there was room for is kept.
        """
        room = self._limit - len(self._kept)
        self._kept += data[:room]
        if len(data) > room:
            raise ScriptEnded(f"it printed more than {self._limit:,} bytes")

    def text(self) -> str:
        """Return what was kept, without the line break at its end. It need not be UTF-8."""
        return self._kept.decode(errors="backslashreplace").removesuffix("\n")
