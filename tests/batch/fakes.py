"""Places, guests and inputs that do as a test says."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs
import trio

from wasmpool._batch.chunk import ChunkRows
from wasmpool._batch.places import PlaceLost, PlacesFailed
from wasmpool._batch.rows import data_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wasmpool._batch.chunk import Chunk
    from wasmpool._batch.progress import Progress
    from wasmpool._lines import Line

__all__ = ["FakeBlocks", "FakePlaces", "Reply", "numbers"]


@final
@attrs.frozen
class Reply:
    data: str
    is_error: bool = False


def numbers(first: int, last: int) -> bytes:
    """Lines with numbers."""
    return b"".join(b"%d\n" % number for number in range(first, last + 1))


@final
class FakeBlocks:
    """An input that comes as the test sends it."""

    size: int | None = None

    def __init__(self, *blocks: bytes, error: Exception | None = None) -> None:
        self.send, self._blocks = trio.open_memory_channel[bytes](1000)
        self.error = error
        self.reads = 0
        self.closed = False
        for block in blocks:
            self.send.send_nowait(block)

    def end(self) -> FakeBlocks:
        self.send.close()
        return self

    async def read(self) -> bytes:
        self.reads += 1
        try:
            return await self._blocks.receive()
        except trio.EndOfChannel:
            if self.error is not None:
                raise self.error from None
            return b""

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


@final
class FakePlaces:
    """Answer each line with itself, after `seconds`.

    Attributes:
        lost: called with the lines of a chunk; True if its place ends.
        most: how many lines of a chunk have rows; the others are left.
        space: behind each row.
        done: the lines of each chunk that was given.
    """

    most_ahead: int | None = None

    def __init__(
        self,
        size: int = 2,
        most_lines: int = 4,
        *,
        seconds: Callable[[], float] = lambda: 0,
        lost: Callable[[list[bytes]], bool] = lambda _: False,
        most: int = 10**9,
        fails_after: int = 10**9,
        padding: int = 0,
    ) -> None:
        self.size = size
        self.most_lines = most_lines
        self.seconds = seconds
        self.lost = lost
        self.most = most
        self.fails_after = fails_after
        self.space = b" " * padding + b"\n"
        self.done: list[list[bytes]] = []
        self.under_way = 0
        self.largest = 0

    async def do(self, chunk: Chunk, _: Progress | None = None, /) -> ChunkRows:
        lines = [line.content for line in chunk.lines()]
        self.done.append(lines)
        self.under_way += 1
        self.largest = max(self.largest, self.under_way)
        try:
            await trio.sleep(self.seconds())
        finally:
            self.under_way -= 1
        if len(self.done) > self.fails_after:
            raise PlacesFailed("no place is left")
        if self.lost(lines):
            raise PlaceLost("the process was killed by signal 9")
        kept = lines[: self.most]
        content = b"".join(data_row(line.decode())[:-1] + self.space for line in kept)
        return ChunkRows(count=len(kept), content=content, seconds=0.001)

    def facts(self) -> Iterator[tuple[str, str]]:
        return iter(())


def text_of(line: Line) -> str:
    return line.content.decode()
