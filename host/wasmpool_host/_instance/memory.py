"""A guest's linear memory, seen from the host."""

from __future__ import annotations

import ctypes
from operator import index
from typing import TYPE_CHECKING, Final, final

from wasmpool_host._errors import GuestMemoryError
from wasmpool_host._shown import shown

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Memory"]

_MOST: Final = (1 << 64) - 1

_STRING_MOST: Final = 0x7FFF_FFFF
"""Bytes that `ctypes.string_at` takes: beyond, its C int wraps, and -1 means up to the next NUL."""


@final
class Memory:
    """A guest's bytes, copied out and in; no pointer is kept.

    The base moves and the size grows whenever the guest runs, so both are read afresh at each
    access. Pointers and sizes are unsigned numbers of 32 bits, or of 64 in a memory that is
    addressed by i64. A negative one is taken for an i32, or i64, that came signed.
    """

    __slots__ = ("_bits", "_region")

    def __init__(self, region: Callable[[], tuple[int, int]], *, bits: int = 32) -> None:
        self._region = region
        self._bits = bits

    @property
    def size(self) -> int:
        """The size in bytes, now; 0 for a guest without memory."""
        return self._region()[1]

    def read(self, ptr: int, size: int) -> bytes:
        """Copy ``size`` bytes at ``ptr`` out.

        Raises:
            GuestMemoryError: the region is not all inside the memory.
            TypeError, ValueError: the pointer or the size is no int, or below the least signed one.
        """
        base, total = self._region()
        if not (ptr.__class__ is size.__class__ is int and ptr >= 0 and size >= 0):
            ptr, size = self._unsigned(ptr, "pointer"), self._unsigned(size, "size")
        if ptr + size > total:
            raise _outside("read", ptr, size, base, total)
        if size > _STRING_MOST:
            return bytes((ctypes.c_char * size).from_address(base + ptr))
        return ctypes.string_at(base + ptr, size)

    def write(self, ptr: int, data: bytes | bytearray | memoryview) -> None:
        """Copy ``data`` in.

        Raises:
            GuestMemoryError: the region is not all inside the memory; nothing was written.
            TypeError, ValueError: the pointer is no int, or below the least signed one; or the data
                are no bytes.
        """
        base, total = self._region()
        if not (ptr.__class__ is int and ptr >= 0):
            ptr = self._unsigned(ptr, "pointer")
        copied = data if isinstance(data, bytes) else bytes(memoryview(data))
        if ptr + len(copied) > total:
            raise _outside("write", ptr, len(copied), base, total)
        ctypes.memmove(base + ptr, copied, len(copied))

    def _unsigned(self, number: object, what: str) -> int:
        """Return the unsigned number that is meant; one that is too large is unchanged."""
        try:
            whole = index(number)  # type: ignore[arg-type]  # it raises for what is no integer
        except TypeError:
            message = f"a {what} in a guest's memory is an int, not {shown(number)}"
            raise TypeError(message) from None
        bits = self._bits
        if whole < -(1 << bits - 1):
            message = (
                f"a {what} in a guest's memory is from -2**{bits - 1} to 2**{bits} - 1, not"
                f" {shown(whole)}"
            )
            raise ValueError(message)
        return whole if whole >= 0 else whole + (1 << bits)

    def __repr__(self) -> str:
        return f"<Memory of {self.size:,} bytes>"


def _outside(what: str, ptr: int, size: int, base: int, total: int) -> GuestMemoryError:
    many = f"{size:,}" if size <= _MOST else shown(size)
    where = f"{ptr:#x}" if ptr <= _MOST else shown(ptr)
    message = f"cannot {what} {many} bytes at {where}: the guest's memory has {total:,} bytes"
    if not base:
        message += "; it needs the export 'memory'"
    return GuestMemoryError(message)
