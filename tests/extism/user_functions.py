"""What the user's functions of the guests compute, for both hosts."""

from __future__ import annotations

__all__ = ["mixed", "transformed"]


def transformed(data: bytes) -> bytes:
    """Answer with the bytes in reverse order, between brackets."""
    return b"<" + data[::-1] + b">"


def mixed(a: int, b: int, c: float, d: float) -> int:
    """Answer with a number that each argument changes."""
    return a ^ (b >> 1) ^ int(c * 4) ^ (int(d) << 20)
