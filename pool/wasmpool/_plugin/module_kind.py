"""What a module is for, by its exports: a plugin, or a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmpool_host import FunctionType

from .contract import REQUIRED

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["has_start", "is_program", "looks_like_plugin"]

_STARTS: Final = (FunctionType((), ()), FunctionType((), ("i32",)))


def has_start(exports: Mapping[str, object]) -> bool:
    """Return True if it can be run: it exports a function ``_start``."""
    return exports.get("_start") in _STARTS


def looks_like_plugin(exports: Mapping[str, object]) -> bool:
    """Return True if it has at least one of the exports that a plugin must have."""
    return not exports.keys().isdisjoint(REQUIRED)


def is_program(exports: Mapping[str, object]) -> bool:
    """Return True if it can be run, and is not meant to be a plugin."""
    return has_start(exports) and not looks_like_plugin(exports)
