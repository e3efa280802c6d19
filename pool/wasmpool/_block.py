"""What `open_pool` and `open_plugin` return: a context manager for ``async with``.

The most frequent mistake of a newcomer is to use it like the pool itself. So its errors say what to
do instead.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, final

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from types import TracebackType

__all__ = ["Block"]

T_co = TypeVar("T_co", covariant=True)


@final
class Block(AbstractAsyncContextManager[T_co]):
    """A context manager whose misuse raises errors that show the right use.

    Args:
        call: the function that made it, such as ``"open_pool"``.
        name: the usual name of a variable for what it yields, such as ``"pool"``.
        manager: the context manager that does the work.
    """

    def __init__(self, call: str, name: str, manager: AbstractAsyncContextManager[T_co]) -> None:
        self._call = call
        self._name = name
        self._manager = manager

    def __aenter__(self) -> Awaitable[T_co]:  # type: ignore[override]  # no frame of its own
        return self._manager.__aenter__()

    def __aexit__(  # type: ignore[override]  # no frame of its own
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Awaitable[bool | None]:
        return self._manager.__aexit__(kind, error, traceback)

    def __repr__(self) -> str:
        return f"<{self._how_to()}>"

    def _how_to(self) -> str:
        return f"async with {self._call}(...) as {self._name}:"

    if not TYPE_CHECKING:  # type checkers report these uses themselves

        def __getattr__(self, attribute: str) -> Any:
            raise AttributeError(
                f"{self._call}(...) has no {attribute!r}: it is a block, and the {self._name} is"
                f" there within it. Use `{self._how_to()}`"
            )

        def __await__(self) -> NoReturn:
            raise TypeError(f"{self._call}(...) is not awaited: use `{self._how_to()}`")

        def __aiter__(self) -> NoReturn:
            raise TypeError(f"{self._call}(...) is no iterator: use `{self._how_to()}`")

        def __enter__(self) -> NoReturn:
            raise TypeError(f"{self._call}(...) needs `async with`: use `{self._how_to()}`")

        def __exit__(self, *_: object) -> None:
            """Python looks this up before it calls ``__enter__``."""
