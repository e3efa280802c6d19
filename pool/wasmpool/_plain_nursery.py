"""A nursery for background tasks, whose body's exception comes out as itself.

A trio nursery wraps what its body raises in a group, since tasks may have raised as well. Around
a block of a user's own code that is wrong: whether the library has background tasks is no concern
of the user's ``except``.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["open_plain_nursery"]


@contextlib.asynccontextmanager
async def open_plain_nursery() -> AsyncGenerator[trio.Nursery, None]:
    """A nursery that waits for its tasks, and then lets its body's exception go on bare."""
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except BaseException as raised:  # noqa: BLE001 - raised again below
            error = raised
    if error is not None:
        raise error
