"""Dask's client in its asynchronous form, as far as it is used here.

Its own types are those of the synchronous form, in which the same methods block and return results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from distributed import Client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from distributed.security import Security

__all__ = ["AsyncClient", "AsyncFuture", "new_client"]

Versions: TypeAlias = "Mapping[str, Any]"


class AsyncFuture(Protocol):
    """A task of Dask."""

    def result(self) -> Coroutine[Any, Any, Any]:
        """Wait for the result."""
        ...

    def cancel(self) -> Awaitable[None]:
        """Have Dask drop the task."""
        ...

    def cancelled(self) -> bool:
        """Return True if Dask has dropped it."""
        ...

    def release(self) -> None:
        """Have Dask forget the result."""
        ...


class AsyncClient(Protocol):
    """A client of the running loop."""

    status: str
    """``running`` while it is connected."""

    def submit(
        self,
        function: Callable[..., object],
        *args: object,
        key: str,
        pure: bool,
        priority: int = 0,
    ) -> AsyncFuture:
        """Give a task to Dask."""
        ...

    def nthreads(self) -> Awaitable[Mapping[str, int]]:
        """Return how many tasks each worker does at once."""
        ...

    def get_versions(self, *, packages: Sequence[str]) -> Awaitable[Versions]:
        """Return the versions of packages on all sides."""
        ...

    def subscribe_topic(self, topic: str, handler: Callable[[tuple[float, Any]], None]) -> None:
        """Call a function for each event of a topic."""
        ...

    def close(self) -> Awaitable[None]:
        """Release all tasks, and end the connection."""
        ...

    def __await__(self) -> Any:
        """Connect."""
        ...


def new_client(address: str, security: Security | None, seconds: float) -> AsyncClient:
    """Return a client that is still to connect: it has so many seconds."""
    new = cast("Callable[..., AsyncClient]", Client)
    return new(
        address,
        asynchronous=True,
        set_as_default=False,  # other uses of Dask in this process have nothing to do with it
        security=security,
        timeout=seconds,
    )
