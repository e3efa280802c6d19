"""The bodies of ``wasi:http/types``: whole in memory, and bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import trio

from wasmpool_host._wit_values import Err, Ok, Variant

from .failure import IoError, Unsuccessful
from .http_memory import MemoryIsFull, Share
from .pollable import ALWAYS, Pollable
from .resource import Resource
from .streams import InputStream, OutputStream

if TYPE_CHECKING:
    from .http_fields import Fields
    from .http_memory import HttpMemory

__all__ = ["MOST_BODY", "FutureTrailers", "IncomingBody", "OutgoingBody"]

MOST_BODY: Final = 16 * 2**20
"""Bytes of the body of a request."""


@final
class OutgoingBody(Resource):
    """``outgoing-body``: what the guest writes, until it says that this is all."""

    __slots__ = ("_is_taken", "_share", "content", "ended", "expected", "is_whole")

    def __init__(self, expected: int | None, memory: HttpMemory) -> None:
        self._share = Share(memory)
        self.content = bytearray()
        self.expected: int | None = expected
        """The length that the request's headers say."""
        self.ended = trio.Event()
        """Set when no more comes."""
        self.is_whole: bool = False
        """True if the guest has finished it. One that it drops is incomplete."""
        self._is_taken = False

    def write(self) -> _BodyOutput:
        """The stream, once."""
        if self._is_taken:
            raise Unsuccessful
        self._is_taken = True
        return _BodyOutput(self)

    def add(self, contents: bytes) -> None:
        """Take more of it.

        Raises:
            Unsuccessful: it would be too long, or there is no room for it.
        """
        size = len(self.content) + len(contents)
        if size > MOST_BODY:
            raise _too_long(f"the body of a request is longer than {MOST_BODY:,} bytes", MOST_BODY)
        try:
            self._share.resize(size)
        except MemoryIsFull:
            raise _too_long("there is no room for more bodies and headers", size) from None
        self.content += contents

    def finish(self, trailers: Fields | None) -> None:
        """Take it as it is."""
        if trailers is not None and trailers.entries():
            raise Unsuccessful(Variant("HTTP-request-trailer-section-size", 0))
        if self.expected not in (None, len(self.content)):
            raise Unsuccessful(Variant("HTTP-request-body-size", len(self.content)))
        self.is_whole = True
        self.ended.set()

    def close(self) -> None:
        self.ended.set()


@final
class _BodyOutput(OutputStream):
    """The stream into the body of a request."""

    __slots__ = ("_body",)

    def __init__(self, body: OutgoingBody) -> None:
        super().__init__()
        self._body = body

    def _put(self, contents: bytes) -> None:
        self._body.add(contents)


def _too_long(text: str, size: int) -> Unsuccessful:
    code = Variant("HTTP-request-body-size", size)
    return Unsuccessful(Variant("last-operation-failed", IoError(text, http=code)))


@final
class IncomingBody(Resource):
    """``incoming-body``: the body of a reply, which has arrived."""

    __slots__ = ("_content", "_is_taken", "_share")

    def __init__(self, content: bytes, share: Share) -> None:
        """``share`` is that of the reply."""
        self._content = content
        self._share = share
        self._is_taken = False

    def stream(self) -> _BodyInput:
        """The stream, once."""
        if self._is_taken:
            raise Unsuccessful
        self._is_taken = True
        return _BodyInput(self._content, self._share)


@final
class _BodyInput(InputStream):
    """The stream out of the body of a reply."""

    __slots__ = ("_content", "_position", "_share")

    def __init__(self, content: bytes, share: Share) -> None:
        super().__init__()
        self._content = content
        self._share = share
        self._position = 0

    def _take(self, size: int) -> bytes:
        data = self._content[self._position : self._position + size]
        self._position += len(data)
        return data


@final
class FutureTrailers(Resource):
    """``future-trailers``: there are none."""

    __slots__ = ("_is_taken",)

    def __init__(self) -> None:
        self._is_taken = False

    def subscribe(self) -> Pollable:
        """It is known already."""
        return Pollable(ALWAYS)

    def get(self) -> Ok | Err:
        """No trailers, once."""
        if self._is_taken:
            return Err()
        self._is_taken = True
        return Ok(Ok(None))
