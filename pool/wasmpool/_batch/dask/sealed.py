"""An object that is sent to workers without showing what it holds.

Dask logs the arguments of a task that failed, and its pages may show them. So they are sealed: a
plugin's credentials, and lines of the input, are in no ``repr``.
"""

from __future__ import annotations

import hashlib
import pickle
from typing import Generic, TypeVar, cast, final

__all__ = ["Sealed"]

T = TypeVar("T")


@final
class Sealed(Generic[T]):
    """The pickled form of an object. The scheduler passes it on and does not open it."""

    __slots__ = ("_content",)

    def __init__(self, value: T) -> None:
        self._content = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)

    def open(self) -> T:
        """Return the object. Each call returns a new one."""
        return cast("T", pickle.loads(self._content))  # noqa: S301 - who sends a task may run anything

    @property
    def digest(self) -> str:
        """The SHA-256 of the pickled form."""
        return hashlib.sha256(self._content).hexdigest()

    def __sizeof__(self) -> int:
        """Dask plans the use of memory by this."""
        return object.__sizeof__(self) + len(self._content)

    def __repr__(self) -> str:
        return f"<sealed: {len(self._content):,} bytes>"

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (self._content,)


def _restore(content: bytes) -> Sealed[object]:
    sealed: Sealed[object] = Sealed.__new__(Sealed)
    sealed._content = content  # noqa: SLF001 - its class is in this file
    return sealed
