"""What ``host_http_request`` returns to the guest: a reply in JSON, or why there is none.

A body of at most `SMALL` bytes is written in one step, a larger one in pieces.
"""

from __future__ import annotations

import base64
import io
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Final

from wasmpool._json import encode
from wasmpool._json_pieces import PIECE, read_text

if TYPE_CHECKING:
    from wasmpool._json_pieces import Cooperative

    from .message import Reply

__all__ = ["ReplyTooLarge", "failure", "success", "success_in_pieces"]

_MAX_REASON: Final = 2_000  # characters; a reason may quote a server or the name of a host
_GROUPS: Final = PIECE // 3 * 3
"""Bytes of a piece of base64: a multiple of 3, so that it has no padding."""


class ReplyTooLarge(Exception):
    """The reply's JSON would be larger than ``limits.payload``."""


def failure(reason: str) -> bytes:
    """Return the answer for a request that has no reply."""
    return encode({"status": 0, "body": reason[:_MAX_REASON].encode(errors="replace").decode()})


def success(reply: Reply, *, raw_body: bool) -> bytes:
    """Write a reply in one step."""
    answer = _head(reply)
    if raw_body:
        answer |= {"body": "", "body_base64": base64.b64encode(reply.body).decode()}
    else:
        answer |= {"body": reply.body.decode(errors="replace")}
    return encode(answer)


def success_in_pieces(reply: Reply, limit: int, *, raw_body: bool) -> Cooperative[bytes]:
    """Write a reply in pieces.

    Raises:
        ReplyTooLarge: the JSON would be larger than ``limit`` bytes.
    """
    written = io.BytesIO()

    def add(piece: bytes) -> None:
        if written.tell() + len(piece) > limit:
            raise ReplyTooLarge
        written.write(piece)

    add(encode(_head(reply)).removesuffix(b"}"))
    if raw_body:
        add(b',"body":"","body_base64":"')
        for at in range(0, len(reply.body), _GROUPS):
            add(base64.b64encode(reply.body[at : at + _GROUPS]))
            yield
    else:
        add(b',"body":"')
        yield from read_text(reply.body, lambda text: add(encode_basestring(text)[1:-1].encode()))
    add(b'"}')
    return written.getvalue()


def _head(reply: Reply) -> dict[str, object]:
    headers: dict[str, str] = {}
    for name, value in reply.headers:
        headers.setdefault(_canonical(name), value.decode(errors="replace"))
    return {"status": reply.status, "headers": headers}


def _canonical(name: bytes) -> str:
    return "-".join(part.capitalize() for part in name.decode("latin-1").split("-"))
