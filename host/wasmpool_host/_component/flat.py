"""Values as a core function takes them: numbers, and bytes that are put in memory."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

from .lowering import INTEGERS, encoded
from .misfit import Misfit
from .outgoing import OF
from .shape import BYTES

if TYPE_CHECKING:
    from .lowering import Lower
    from .outgoing import Outgoing
    from .shape import Part

__all__ = ["flat_value"]


def flat_value(part: Part, value: Any, lower: Lower, scratch: Outgoing) -> Any:
    """Return bytes for a list or a string, and a number for a scalar.

    Args:
        part: the type.
        value: of any type.
        lower: writes values of the type, and checks scalars here.
        scratch: where it may write.

    Raises:
        Misfit: the value does not fit.
    """
    if part == BYTES:
        return _flat_bytes(value)
    if part == "string":
        return encoded(value)
    lower(scratch, 0, value)
    return _flat_scalar(part, scratch.buffer, value)


def _flat_scalar(part: Part, buffer: bytearray, value: Any) -> Any:
    """Return what a core function takes for a scalar that was written to a buffer."""
    if part in ("f32", "f64"):
        return value
    if part == "bool":
        return int(value)
    if part == "char":
        return ord(value)
    letter, bits = INTEGERS[part]
    (number,) = Struct(f"<{letter}").unpack_from(buffer, OF)
    return number & ((1 << max(bits, 32)) - 1)


def _flat_bytes(value: Any) -> bytes | memoryview:
    """Return the bytes of a ``list<u8>``.

    Raises:
        Misfit: it is none.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return memoryview(value).cast("B")
    if isinstance(value, (list, tuple)):
        try:
            return bytes(value)
        except (TypeError, ValueError):
            pass
    raise Misfit(f"give bytes (list<u8>), not {type(value).__name__}")
