"""Which functions a component is given for its imports of WASI."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from .binding import bind
from .interfaces import INTERFACES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wasmpool_host._wasi.config import Wasi

__all__ = ["find", "is_provided", "names"]

_VERSION: Final = re.compile(r"@0\.2\.[0-9]+")
"""Versions of one minor number below 1.0 are compatible, and later ones only add to earlier ones.
What a later one adds is a function that is not found here."""


def _without_version(interface: str) -> str:
    base, at, version = interface.partition("@")
    return base if _VERSION.fullmatch(at + version) else ""


def is_provided(interface: str) -> bool:
    """Return True for an interface, with its version, of which there are functions or types."""
    return _without_version(interface) in INTERFACES


def find(interface: str, name: str, wasi: Wasi) -> Callable[..., Any] | None:
    """The host function for a component's import; None if there is none.

    Args:
        interface: with its version, as the component has it.
        name: as the canonical ABI has it: ``"[method]input-stream.read"``.
        wasi: what the component can access.
    """
    function = INTERFACES.get(_without_version(interface), {}).get(name)
    return None if function is None else bind(function, wasi)


def names() -> Iterable[tuple[str, str]]:
    """All functions that there are, by interface without its version, and name."""
    return [(interface, name) for interface, table in INTERFACES.items() for name in table]
