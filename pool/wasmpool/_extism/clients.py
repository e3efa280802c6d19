"""The HTTP clients of a plugin's revisions, for as long as each of them serves calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from .revision import Revision

__all__ = ["Clients"]


@final
class Clients:
    """The HTTP clients of all revisions, which are closed after the pool."""

    def __init__(self) -> None:
        self._revisions: list[Revision] = []

    def add(self, revision: Revision) -> Revision:
        """Have the client of a revision closed at the end."""
        self._revisions.append(revision)
        return revision

    async def drop(self, revision: Revision) -> None:
        """Close the client of a revision that serves no more calls."""
        self._revisions.remove(revision)
        await revision.environment.requests.aclose()

    async def __aenter__(self) -> Clients:
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._revisions:
            await self.drop(self._revisions[-1])
