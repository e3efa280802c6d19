"""Declarations in the type of an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from wasmpool_host._compile.encoding import unsigned

from .augmented import HIDDEN
from .function_types import encoded_function
from .paired_types import PairedTypes, encoded_text

if TYPE_CHECKING:
    from .anatomy import Anatomy
    from .type_space import FunctionType, TypeSpace

__all__ = ["Declarations"]


@final
class Declarations:
    """Declarations of types and functions that follow on those that are there.

    Attributes:
        added: the declarations.
        types: defines types by them.
    """

    def __init__(
        self, made: Anatomy, home: TypeSpace, count: int, *, is_outer: bool = False
    ) -> None:
        """Begin.

        Args:
            made: the component.
            home: the space of the types that are defined again.
            count: how many types are declared.
            is_outer: True if that space is the component's, False if it is that of this instance.
        """
        self._count = count
        self._resources: dict[int, int] = {}
        self.added: list[bytes] = []
        self.types = PairedTypes(
            home,
            use=made.use_again,
            define=self._define,
            name=self._named,
            resource=self._outer_resource if is_outer else lambda index: index,
        )

    def _add(self, declaration: bytes) -> int:
        """Add what has an index among the types; return that."""
        self.added.append(declaration)
        self._count += 1
        return self._count - 1

    def _define(self, definition: bytes) -> int:
        return self._add(b"\1" + definition)

    def _named(self, index: int) -> int:
        name = encoded_text(f"{HIDDEN}type-{index}")
        return self._add(b"\4\0" + name + b"\3\0" + unsigned(index))

    def _outer_resource(self, index: int) -> int:
        if index not in self._resources:
            self._resources[index] = self._add(b"\2\3\2\1" + unsigned(index))
        return self._resources[index]

    def function(self, name: str, type_: FunctionType) -> None:
        """Declare a function."""
        index = self._define(encoded_function(type_))
        self.added.append(b"\4\0" + encoded_text(name) + b"\1" + unsigned(index))
