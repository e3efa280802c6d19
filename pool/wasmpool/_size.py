"""Sizes as users write them: bytes, or KiB, MiB or GiB."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["read_size"]

_UNITS: Final = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_SIZE: Final = re.compile(r"([0-9]{1,20})(|kib|mib|gib)", re.IGNORECASE | re.ASCII)


def read_size(text: str) -> int | None:
    """Return the number of bytes that a text such as ``64MiB`` stands for; None if it is none."""
    match = _SIZE.fullmatch(text)
    return None if match is None else int(match[1]) * _UNITS[match[2].lower()]
