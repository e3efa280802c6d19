"""Reading a reply: its body is collected up to the limit of the policy, and decompressed.

Gzip is decompressed in pieces of limited size: 64 KiB of gzip can contain 64 MiB.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final, final

from .message import HttpFailure, Reply

if TYPE_CHECKING:
    from wasmpool_host.lowlevel import LoopShare

    from .message import Head

__all__ = ["ReplyReader"]

_INFLATE: Final = zlib.MAX_WBITS | 16  # a gzip header and trailer around it
_PIECE: Final = 256 << 10  # bytes that are decompressed in one step
_DIGITS: Final = 18
_GZIP_OVERHEAD: Final = 1024  # gzip adds at most this and a 1000th to incompressible data


@final
class ReplyReader:
    """Reads one reply: first `begin` with its head, then `add` for its body, then `reply`.

    Args:
        limit: the most bytes of the body, after decompression.
        inflates: decompress the body if it has gzip.
    """

    def __init__(self, limit: int, *, inflates: bool) -> None:
        self._limit = limit
        self._sent_limit = limit
        self._inflates = inflates
        self._gzip: Any = None  # zlib's decompressor, within a gzip member
        self._sent = 0
        self._bytes = bytearray()

    def begin(self, head: Head, method: str) -> None:
        """Prepare for the body.

        Raises:
            HttpFailure: the announced length of the body is too large.
        """
        announced = head.get(b"content-length")
        gzip = head.get(b"content-encoding").lower() == b"gzip" and announced != b"0"
        self._inflates = self._inflates and gzip and head.has_content(method)
        if self._inflates:
            self._sent_limit += self._limit // 1000 + _GZIP_OVERHEAD
        if head.has_content(method) and _exceeds(announced, self._sent_limit):
            raise self._too_large()

    async def add(self, data: bytes, share: LoopShare) -> None:
        """Add a part of the body.

        Raises:
            HttpFailure: the body is too large, or its gzip is broken.
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
        """Return the whole reply.

        Raises:
            HttpFailure: the body ends within its gzip stream.
        """
        if self._gzip is not None:
            message = "the reply ends in the middle of its gzip stream"
            raise HttpFailure(message)
        # These two headers describe the compressed body.
        dropped = (b"content-encoding", b"content-length") if self._inflates else ()
        kept = [(name, value) for name, value in head.headers if name.lower() not in dropped]
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
        return False  # there is none, or it is invalid, which the protocol's library reports
    # Not `int` at once: a number of a million digits takes seconds.
    return len(announced.lstrip(b"0")) > _DIGITS or int(announced) > limit
