"""Why plugins of a loader could not be loaded or reloaded, by name."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar, final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MOST", "Failures"]

_E = TypeVar("_E", bound=BaseException)

MOST: Final = 1_000
"""Names that are kept. A directory can have any number of broken files."""


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

    def remove(self, name: str) -> None:
        """Forget the failure of a name, if there is one."""
        self._errors.pop(name, None)


def without_frames(error: _E) -> _E:
    """Copy an error and its causes, without tracebacks: these keep all variables alive.

    The error itself may still be on its way to its caller.
    """
    copied: _E = type(error).__new__(type(error), *error.args)  # without its own __init__
    copied.args = error.args
    copied.__dict__.update(error.__dict__)
    if error.__cause__ is not None:
        copied.__cause__ = without_frames(error.__cause__)
    return copied
