"""What stands for the result of a call that is not done yet."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, TypeAlias

__all__ = ["PENDING", "Pending"]


class _Pending(Enum):
    PENDING = "pending"

    def __repr__(self) -> str:
        return "PENDING"


PENDING: Final = _Pending.PENDING
"""Of ``start_call`` and ``start_exchange``: ``finish`` has the result."""

Pending: TypeAlias = Literal[_Pending.PENDING]
