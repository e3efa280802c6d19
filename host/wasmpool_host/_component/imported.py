"""A host function as one component imports it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from wasmpool_host._escape import escaped

if TYPE_CHECKING:
    from collections.abc import Callable

    from .augmented import PairedImport
    from .signature import ComponentSignature

__all__ = ["ImportedFunction", "import_name"]


@final
class ImportedFunction:
    """A host function, with the name and the type that a component imports it by.

    Attributes:
        interface: the name of the interface that it is linked in.
        name: as it is imported.
        linked_name: the name that it is linked by; another one where it is called with pairs.
        function: the Python function.
        signature: its type.
        paired: where the bytes are that it is called with, if it is called with pairs.
        label: names it in messages.
        owner: names its call in messages.
        blank: what the entry callback leaves in place of the arguments that it takes.
        size: bytes of these.
    """

    __slots__ = (
        "blank", "function", "interface", "label", "linked_name", "name", "owner", "paired",
        "signature", "size",
    )  # fmt: skip

    def __init__(
        self,
        interface: str,
        linked_name: str,
        function: Callable[..., Any],
        signature: ComponentSignature,
        paired: PairedImport | None = None,
    ) -> None:
        self.interface: str = interface
        self.linked_name: str = linked_name
        self.name: str = linked_name if paired is None else paired.name
        self.paired: PairedImport | None = paired
        self.function: Callable[..., Any] = function
        self.signature: ComponentSignature = signature
        self.size: int = signature.size
        self.blank: bytes = bytes(signature.size)
        self.label: str = f"host function {self}"
        self.owner: str = f"the call of {self.label}"

    def __str__(self) -> str:
        interface = self.interface if self.paired is None else self.paired.interface
        return escaped(import_name(interface, self.name))


def import_name(interface: str, name: str) -> str:
    """Return the name of a function in an interface, or at the root where that is ``""``."""
    return f"{interface}#{name}" if interface else name
