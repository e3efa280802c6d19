"""What an earlier run has left in its files: whole rows, and perhaps a part of one."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KeptRows", "kept_errors", "kept_rows"]

_PIECE: Final = 1 << 16
"""Bytes of a row that are looked at, at once."""
_IS_ERROR: Final = re.compile(rb'\{("line": [0-9]{1,20}, )?"error": ')
_NUMBERED: Final = re.compile(rb'\{"line": ([0-9]{1,20}), "error": ')


@final
@attrs.frozen
class KeptRows:
    """The whole rows of a file."""

    count: int
    failures: int
    size: int
    """Their bytes."""


def kept_rows(descriptor: int) -> KeptRows:
    """Count the rows of an output. It reads the whole file, in a worker thread."""
    count = failures = size = 0
    for start, length in _whole_lines(descriptor):
        count += 1
        size += length
        failures += _IS_ERROR.match(start) is not None
    return KeptRows(count, failures, size)


def kept_errors(descriptor: int, lines: int) -> int:
    """Return the bytes of a file of errors that belong to the first lines of the input.

    Raises:
        ValueError: it has other things than errors.
    """
    size = 0
    for start, length in _whole_lines(descriptor):
        number = _NUMBERED.match(start)
        if number is None:
            raise ValueError("it has lines that are no errors of an earlier run")
        if int(number[1]) > lines:
            break
        size += length
    return size


def _whole_lines(descriptor: int) -> Iterator[tuple[bytes, int]]:
    """Return the start and the length of each line that has an end."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as file:
        start, length = b"", 0
        while piece := file.readline(_PIECE):
            start, length = start or piece, length + len(piece)
            if piece.endswith(b"\n"):
                yield start, length
                start, length = b"", 0
