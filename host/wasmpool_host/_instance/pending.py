"""The result of a step, where the guest is not done yet."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, TypeAlias

__all__ = ["PENDING", "Pending"]


class _Pending(Enum):
    PENDING = "pending"

    def __repr__(self) -> str:
        return "PENDING"


PENDING: Final = _Pending.PENDING
"""The result of a ``start...`` method where the guest is not done: await ``finish`` for it."""

Pending: TypeAlias = Literal[_Pending.PENDING]
