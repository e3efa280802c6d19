"""A nursery for background tasks that does not put the exception of its block in a group.

A trio nursery raises an exception group, because its tasks may have failed as well. For a block of
the user's code that is wrong: the user's ``except`` need not know that the library has background
tasks.
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
    """A nursery that waits for its tasks, and then raises the exception of its block as it is."""
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except BaseException as raised:  # noqa: BLE001 - raised again below
            error = raised
    if error is not None:
        raise error
