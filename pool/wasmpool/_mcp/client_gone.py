"""A call that ends when its client is gone.

With the revision of the protocol that has a handshake, the SDK lets a request over HTTP go on when
its connection is closed, since a client might come back for the answer. Here no answer is kept, so
nobody could read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable

    T = TypeVar("T")

__all__ = ["GONE", "unless_gone"]

GONE: Final = "wasmpool.client_gone"
"""The key in an ASGI scope of an event that is set when the client is gone."""


async def unless_gone(request: Any, call: Awaitable[T]) -> T | None:
    """Await a call, which must not raise, and cancel it when the client of its request is gone.

    Args:
        request: the HTTP request; None for a client that is connected in another way.
        call: what to await.

    Returns:
        what the call returns, or None if it was cancelled.
    """
    gone: trio.Event | None = request.scope.get(GONE) if request is not None else None
    if gone is None:
        return await call
    result: T | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when, gone, nursery.cancel_scope)
        result = await call
        nursery.cancel_scope.cancel()
    return result


async def _cancel_when(gone: trio.Event, scope: trio.CancelScope) -> None:
    await gone.wait()
    scope.cancel()
