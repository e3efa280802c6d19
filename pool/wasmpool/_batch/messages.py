"""What a batch and its processes tell each other: a line of JSON, and bytes behind it."""

from __future__ import annotations

import json
from typing import Any, Final, TypeAlias

from .chunk import Chunk, ChunkRows

__all__ = [
    "MOST_TO_BATCH",
    "MOST_TO_PROCESS",
    "Message",
    "chunk_message",
    "chunk_of",
    "message_of",
    "read_message",
    "rows_message",
    "rows_of",
]

MOST_TO_PROCESS: Final = 512 << 20
"""Bytes of a message: twice what a module's file may have."""
MOST_TO_BATCH: Final = 1 << 30
"""Bytes of a message: more than `MOST_CONTENT`, and more than one row can have."""

Message: TypeAlias = "tuple[dict[str, Any], bytes]"


def message_of(head: dict[str, Any], body: bytes = b"") -> bytes:
    """Return the bytes of a message."""
    return json.dumps(head).encode() + b"\n" + body


def read_message(message: bytes) -> Message:
    """Return what a message was made of.

    Raises:
        ValueError: it is none.
    """
    line, _, body = message.partition(b"\n")
    head = json.loads(line)
    if not isinstance(head, dict):
        raise ValueError("a message begins with a JSON object")  # noqa: TRY004 - as for other bytes
    return head, body


def chunk_message(task: int, chunk: Chunk) -> bytes:
    """Return the message that gives a process a chunk."""
    head = {
        "do": "chunk",
        "task": task,
        "number": chunk.number,
        "first_line": chunk.first_line,
        "count": chunk.count,
        "too_long": chunk.too_long,
    }
    return message_of(head, chunk.data)


def chunk_of(message: Message) -> Chunk:
    """Return the chunk of such a message."""
    head, data = message
    return Chunk(
        number=head["number"],
        first_line=head["first_line"],
        count=head["count"],
        data=data,
        too_long=head["too_long"],
    )


def rows_message(task: int, rows: ChunkRows) -> bytes:
    """Return the message with the rows of a chunk."""
    head = {
        "say": "rows",
        "task": task,
        "count": rows.count,
        "failed": rows.failed,
        "seconds": rows.seconds,
    }
    return message_of(head, rows.content)


def rows_of(message: Message) -> ChunkRows:
    """Return the rows of such a message."""
    head, content = message
    return ChunkRows(
        count=head["count"],
        content=content,
        failed=tuple(head["failed"]),
        seconds=head["seconds"],
    )
