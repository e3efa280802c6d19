"""Random values of WebAssembly's types, often from the edges of a type."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from random import Random

__all__ = ["random_value"]


def random_value(random: Random, type_: str) -> Any:
    """A value of a type; None for a reference, which cannot be passed."""
    if type_ in ("i32", "i64"):
        bits = int(type_[1:])
        return random.choice(
            (0, 1, -1, -(1 << bits - 1), (1 << bits) - 1, random.getrandbits(bits))
        )
    if type_ == "f32":
        number = struct.unpack("<f", random.randbytes(4))[0]
        return random.choice((0.0, -0.0, math.inf, math.nan, 1.5, number))
    if type_ == "f64":
        number = struct.unpack("<d", random.randbytes(8))[0]
        return random.choice((0.0, -0.0, -math.inf, math.nan, 1e300, number))
    return random.randbytes(16) if type_ == "v128" else None
