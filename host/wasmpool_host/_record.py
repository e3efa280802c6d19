"""What classes that `import wasmpool` makes are built on, if attrs does nothing else for them."""

from __future__ import annotations

from typing import ClassVar, NoReturn

__all__ = ["Record"]


class Record:
    """Attributes that do not change, with equality, hash and representation by them.

    They are the names in ``__slots__``. This is written once: attrs generates and compiles
    code for each class at each import, which takes half a millisecond.
    """

    __slots__: ClassVar[tuple[str, ...]] = ()

    def _fill(self, *values: object) -> None:
        """Set the attributes, in their order; for ``__init__``."""
        for name, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(self, name, value)

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        message = f"{name!r} cannot be set: a {type(self).__name__} does not change"
        raise AttributeError(message)

    def __delattr__(self, name: str) -> NoReturn:
        message = f"{name!r} cannot be deleted: a {type(self).__name__} does not change"
        raise AttributeError(message)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), *self._values()))

    def __repr__(self) -> str:
        named = zip(self.__slots__, self._values(), strict=True)
        parts = ", ".join(f"{name}={value!r}" for name, value in named)
        return f"{type(self).__name__}({parts})"

    def __reduce__(self) -> tuple[type[Record], tuple[object, ...]]:
        return type(self), self._values()
