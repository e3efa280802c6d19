"""Whose guest a log record is about: attributes that all records of guests have.

A library that runs the instance fills them in; here they are only passed on.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NOBODY"]

NOBODY: Final[Mapping[str, object]] = MappingProxyType(
    {"pool": None, "plugin": None, "instance": None, "tool": None}
)
"""The attributes of an instance that belongs to no pool, as the ``extra`` of a log record."""
