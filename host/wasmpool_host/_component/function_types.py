"""Types of functions: found in a component, and encoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmpool_host._compile.encoding import signed, vector

from .paired_types import Unpairable, encoded_text
from .type_space import FunctionType

if TYPE_CHECKING:
    from .type_space import TypeSpace

__all__ = ["encoded_function", "function_of"]


def function_of(space: TypeSpace, index: int) -> tuple[TypeSpace, FunctionType]:
    """Return a function's type, and the space of the indices in it.

    Raises:
        Unpairable: it is not known.
    """
    found = space.find(index)
    if found is None:
        raise Unpairable
    space, definition = found
    if not isinstance(definition, FunctionType):
        raise Unpairable
    return space, definition


def encoded_function(type_: FunctionType) -> bytes:
    """The definition of a function's type."""
    given = [encoded_text(name) + signed(each) for name, each in type_.params]
    result = b"\1\0" if type_.result is None else b"\0" + signed(type_.result)
    return b"\x40" + vector(given) + result
