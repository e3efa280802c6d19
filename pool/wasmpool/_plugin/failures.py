"""Why plugins of a loader could not be loaded or reloaded, by name."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar, final

from wasmpool._errors import as_one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MOST", "Failures"]

_E = TypeVar("_E", bound=BaseException)

MOST: Final = 1_000
"""Names that are kept. A directory can have any number of broken files."""

_DEPTH: Final = 10
"""Causes of an error that are kept; an error can be its own cause."""


@final
class Failures:
    """The last failure of each name that has not been loaded since; at most `MOST` names."""

    def __init__(self) -> None:
        self._errors: dict[str, Exception] = {}
        self.view: Final[Mapping[str, Exception]] = MappingProxyType(self._errors)
        """A live, read-only mapping."""

    def add(self, name: str, error: Exception) -> Exception:
        """Keep a copy of the error, which is returned; of too many names, forget the oldest."""
        self._errors.pop(name, None)
        if len(self._errors) >= MOST:
            del self._errors[next(iter(self._errors))]
        kept = self._errors[name] = without_frames(error)
        return kept

    def remove(self, name: str) -> bool:
        """Forget the failure of a name; return True if there was one."""
        return self._errors.pop(name, None) is not None


def without_frames(error: _E, depth: int = _DEPTH) -> _E | Exception:
    """Copy an error and its causes, without tracebacks: these keep all variables alive.

    The error itself may still be on its way to its caller. One that cannot be copied, of a class
    with a ``__new__`` of its own, is kept as a RuntimeError with its text.
    """
    try:
        copied = _copy(error)
    except Exception:  # noqa: BLE001 - the class is the application's
        return RuntimeError(as_one_line(error))
    if error.__cause__ is not None and depth > 0:
        copied.__cause__ = without_frames(error.__cause__, depth - 1)
    return copied


def _copy(error: _E) -> _E:
    """Copy an error without its own ``__init__``, which may take other arguments."""
    args = error.args
    if isinstance(error, OSError):
        args = error.__reduce__()[1]  # type: ignore[assignment]  # with the path, which args lack
    copied: _E = type(error).__new__(type(error), *args)
    if not isinstance(error, OSError):
        copied.args = error.args
    copied.__dict__.update(error.__dict__)
    return copied
