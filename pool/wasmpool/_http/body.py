"""A reply's body as it comes, never more of it than the policy allows.

Gzip is undone in pieces with a bound on what comes out: a chunk of 64 KiB can hold 64 MiB.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final, final

from .message import HttpFailure, Reply

if TYPE_CHECKING:
    from .message import Head
    from .stream import LoopShare

__all__ = ["ReplyReader"]

_INFLATE: Final = zlib.MAX_WBITS | 16  # a gzip header and trailer around it
_PIECE: Final = 256 << 10  # bytes that are inflated before the loop may have its turn
_DIGITS: Final = 18
_GZIP_COSTS: Final = 1024  # what cannot be compressed grows by less than a 1000th, and this


@final
class ReplyReader:
    """Takes in one reply: first its head, then its body.

    Args:
        limit: bytes of the body, as the guest gets it.
        inflates: undo gzip if the reply has it.
    """

    def __init__(self, limit: int, *, inflates: bool) -> None:
        self._limit = limit
        self._sent_limit = limit
        self._inflates = inflates
        self._gzip: Any = None  # zlib's decompressor, within a gzip member
        self._sent = 0
        self._bytes = bytearray()

    def begin(self, head: Head, method: str) -> None:
        """Look at the head.

        Raises:
            HttpFailure: the body is announced to be too large.
        """
        announced = head.get(b"content-length")
        gzip = head.get(b"content-encoding").lower() == b"gzip" and announced != b"0"
        self._inflates = self._inflates and gzip and head.has_content(method)
        if self._inflates:
            self._sent_limit += self._limit // 1000 + _GZIP_COSTS
        if head.has_content(method) and _exceeds(announced, self._sent_limit):
            raise self._too_large()

    async def add(self, data: bytes, share: LoopShare) -> None:
        """Take some of the body.

        Raises:
            HttpFailure: it is too large, or broken gzip.
        """
        self._sent += len(data)
        if self._sent > self._sent_limit:
            raise self._too_large()
        if not self._inflates:
            self._bytes += data
            return
        try:
            await self._inflate(data, share)
        except zlib.error as broken:
            message = f"the reply's gzip stream is broken: {broken}"
            raise HttpFailure(message) from broken

    def reply(self, head: Head) -> Reply:
        """The whole reply, in the end.

        Raises:
            HttpFailure: its gzip stream is not at its end.
        """
        if self._gzip is not None:
            message = "the reply ends in the middle of its gzip stream"
            raise HttpFailure(message)
        # What is given is not what these two speak of any more.
        undone = (b"content-encoding", b"content-length") if self._inflates else ()
        kept = [(name, value) for name, value in head.headers if name.lower() not in undone]
        return Reply(head.status, kept, bytes(self._bytes))

    async def _inflate(self, data: bytes, share: LoopShare) -> None:
        while data:
            if self._gzip is None:
                self._gzip = zlib.decompressobj(_INFLATE)
            room = self._limit - len(self._bytes) + 1
            self._bytes += self._gzip.decompress(data, min(room, _PIECE))
            if len(self._bytes) > self._limit:
                raise self._too_large()
            data = self._gzip.unconsumed_tail
            if self._gzip.eof:
                data = self._gzip.unused_data
                self._gzip = None
            await share.step()

    def _too_large(self) -> HttpFailure:
        return HttpFailure(f"the reply is too large: more than {self._limit:,} bytes")


def _exceeds(announced: bytes, limit: int) -> bool:
    if not announced.isdigit():
        return False  # absent, or an error that the protocol's library finds
    # Reading the number of a million digits takes seconds.
    return len(announced.lstrip(b"0")) > _DIGITS or int(announced) > limit
