"""Which functions a component is given for its imports of WASI."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from .binding import bind
from .interfaces import INTERFACES
from .signatures import text_of, type_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wasmpool_host._wasi.config import Wasi
    from wasmpool_host._wit import WitFunction

__all__ = ["find", "is_provided", "names", "type_text"]

_VERSION: Final = re.compile(r"@0\.2\.[0-9]+")
"""Versions of one minor number below 1.0 are compatible, and later ones only add to earlier ones.
What a later one adds is a function that is not found here."""


def _without_version(interface: str) -> str:
    base, at, version = interface.partition("@")
    return base if _VERSION.fullmatch(at + version) else ""


def is_provided(interface: str) -> bool:
    """Return True for an interface, with its version, of which there are functions or types."""
    return _without_version(interface) in INTERFACES


def find(interface: str, name: str, type_: WitFunction, wasi: Wasi) -> Callable[..., Any] | None:
    """The host function for a component's import; None if there is none of that type.

    Args:
        interface: with its version, as the component has it.
        name: as the canonical ABI has it: ``"[method]input-stream.read"``.
        type_: what the component says that it is. A function is not called with other values than
            those that it is for.
        wasi: what the component can access.
    """
    if text_of(type_) != type_text(interface, name):
        return None
    return bind(INTERFACES[_without_version(interface)][name], wasi)


def type_text(interface: str, name: str) -> str | None:
    """The type of a function in the contract, as text; None if there is no such function."""
    return type_texts().get((_without_version(interface), name))


def names() -> Iterable[tuple[str, str]]:
    """All functions that there are, by interface without its version, and name."""
    return [(interface, name) for interface, table in INTERFACES.items() for name in table]
