"""One line of the output."""

from __future__ import annotations

from typing import final

import attrs

__all__ = ["OutputRow"]


@final
@attrs.frozen(eq=False)
class OutputRow:
    """The answer to one line of the input, as it is written."""

    content: bytes
    failed: bool
    size: int
    """Bytes of the line in the input."""
