"""Cutting the input into chunks of whole lines.

Lines are counted and never made into objects here: this is done in the one process that all lines
of a batch go through.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections import deque
from typing import Final, final

from .chunk import Chunk

__all__ = ["Cutter"]


@final
class Cutter:
    """Keeps what was read until it is cut.

    Only LF and CR LF end a line; other line breaks of Unicode are part of the text. The last line
    needs no ending, unless it is empty. A byte order mark at the start is dropped. Of a line that
    is too long only the size is kept.

    Args:
        longest: bytes of a line, without its ending.
        first_line: the number of the first line; above 1, the start of the input is not there.
    """

    # Invariants: a part that is a number is a whole line that is too long; _tail is the length of
    # the line without an end in the last part, and at most longest + 1; while _dropped is not 0,
    # it is the size so far of a line that is too long, and _tail is 0.

    def __init__(self, longest: int, first_line: int = 1) -> None:
        self._longest: Final = longest
        self._mark = first_line == 1  # a mark may come
        self._parts: deque[bytearray | int] = deque([bytearray()])
        self._lines = 0
        self._size = 0
        self._tail = 0
        self._dropped = 0
        self._chunks = 0
        self._first_line = first_line

    @property
    def lines(self) -> int:
        """How many whole lines are kept."""
        return self._lines

    @property
    def size(self) -> int:
        """How many bytes are kept."""
        return self._size

    def feed(self, block: bytes) -> None:
        """Keep a block of the input, of any size."""
        if self._dropped:
            block = self._drop(block)
        elif self._mark:
            block = self._without_mark(block)
        last = self._parts[-1]
        assert isinstance(last, bytearray)
        last += block
        self._lines += block.count(b"\n")
        self._size += len(block)
        behind = len(block) - 1 - block.rfind(b"\n")
        self._tail = behind if behind < len(block) else self._tail + len(block)
        if self._tail > self._longest + 1:  # 1: the CR of an ending may come before its LF
            self._dropped, self._size = self._tail, self._size - self._tail
            del last[-self._tail :]
            self._tail = 0

    def end(self) -> None:
        """End the input: the last line may have no ending."""
        if self._mark:  # fewer bytes than a mark has
            self._mark = False
        if self._dropped:
            self._end_dropped()
        elif self._tail:
            self._lines += 1
            self._tail = 0

    def cut(self, lines: int, size: int) -> Chunk | None:
        """Cut a chunk off the front.

        Args:
            lines: how many it has at most.
            size: the bytes that end it, but for its first line.

        Returns:
            None if there is no whole line.
        """
        if not self._lines:
            return None
        part = self._parts[0]
        while part == bytearray():
            self._parts.popleft()
            part = self._parts[0]
        if not isinstance(part, bytearray):
            self._parts.popleft()
            return self._chunk(1, b"", part)
        count, end, too_long = self._measure(part, lines, size)
        data = bytes(part[:end])
        del part[:end]
        self._size -= end
        return self._chunk(1, b"", end) if too_long else self._chunk(count, data, 0)

    def _measure(self, part: bytearray, lines: int, size: int) -> tuple[int, int, bool]:
        """Return the lines and bytes to cut, and if it is one line that is too long."""
        count = end = 0
        most = min(lines, self._lines)
        while count < most and (end < size or not count):
            found = part.find(b"\n", end) + 1
            behind = found or len(part)
            if behind == end:
                break  # the other lines are in the next part
            if behind - end > self._longest and self._is_too_long(part, end, behind):
                return (count, end, False) if count else (1, behind, True)
            count, end = count + 1, behind
        return count, end, False

    def _is_too_long(self, part: bytearray, start: int, end: int) -> bool:
        ending = bytes(part[max(start, end - 2) : end])
        bare = 2 if ending == b"\r\n" else int(ending.endswith(b"\n"))
        return end - start - bare > self._longest

    def _chunk(self, count: int, data: bytes, too_long: int) -> Chunk:
        chunk = Chunk(
            number=self._chunks,
            first_line=self._first_line,
            count=count,
            data=data,
            too_long=too_long,
        )
        self._chunks += 1
        self._first_line += count
        self._lines -= count
        return chunk

    def _without_mark(self, block: bytes) -> bytes:
        """Return a block at the start of the input without the mark, as far as it can be told."""
        last = self._parts[-1]
        assert isinstance(last, bytearray)
        start = bytes(last) + block
        if len(start) < len(BOM_UTF8) and BOM_UTF8.startswith(start):
            return block  # the rest of a mark may follow
        self._mark = False
        if start.startswith(BOM_UTF8):
            self._size -= len(last)
            self._tail -= len(last)
            last.clear()
            return start.removeprefix(BOM_UTF8)
        return block

    def _drop(self, block: bytes) -> bytes:
        """Return what follows a line that is too long."""
        end = block.find(b"\n") + 1
        self._dropped += end or len(block)
        if not end:
            return b""
        self._end_dropped()
        return block[end:]

    def _end_dropped(self) -> None:
        self._parts.append(self._dropped)
        self._parts.append(bytearray())
        self._dropped = 0
        self._lines += 1
