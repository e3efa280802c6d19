"""A host function as one component imports it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from wasmpool_host._escape import escaped

if TYPE_CHECKING:
    from collections.abc import Callable

    from .signature import ComponentSignature

__all__ = ["ImportedFunction", "import_name"]


@final
class ImportedFunction:
    """A host function, with the name and the type that a component imports it by.

    Attributes:
        function: the Python function.
        signature: its type.
        blank: what the entry callback leaves in place of the arguments that it takes.
        size: bytes of these.
    """

    __slots__ = ("blank", "function", "interface", "name", "signature", "size")

    def __init__(
        self,
        interface: str,
        name: str,
        function: Callable[..., Any],
        signature: ComponentSignature,
    ) -> None:
        self.interface: str = interface
        self.name: str = name
        self.function: Callable[..., Any] = function
        self.signature: ComponentSignature = signature
        self.size: int = signature.size
        self.blank: bytes = bytes(signature.size)

    def __str__(self) -> str:
        return escaped(import_name(self.interface, self.name))


def import_name(interface: str, name: str) -> str:
    """Return the name of a function in an interface, or at the root where that is ``""``."""
    return f"{interface}#{name}" if interface else name
