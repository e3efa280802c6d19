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

_U32: Final = 0xFFFF_FFFF

_STRING_MOST: Final = 0x7FFF_FFFF
"""Bytes that `ctypes.string_at` takes: beyond, its C int wraps, and -1 means up to the next NUL."""


@final
class Memory:
    """A guest's bytes, copied out and in; no pointer is kept.

    The base moves and the size grows whenever the guest runs, so both are read afresh at each
    access. Pointers and sizes are unsigned 32-bit numbers. A negative one, from -2**31 on, is taken
    for an i32 that came signed.
    """

    __slots__ = ("_region",)

    def __init__(self, region: Callable[[], tuple[int, int]]) -> None:
        self._region = region

    @property
    def size(self) -> int:
        """The size in bytes, now; 0 for a guest without memory."""
        return self._region()[1]

    def read(self, ptr: int, size: int) -> bytes:
        """Copy ``size`` bytes at ``ptr`` out.

        Raises:
            GuestMemoryError: the region is not all inside the memory.
            TypeError, ValueError: the pointer or the size is no int, or below -2**31.
        """
        base, total = self._region()
        if not (ptr.__class__ is size.__class__ is int and ptr >= 0 and size >= 0):
            ptr, size = _unsigned(ptr, "pointer"), _unsigned(size, "size")
        if ptr + size > total:
            raise _outside("read", ptr, size, total)
        if size > _STRING_MOST:
            return bytes((ctypes.c_char * size).from_address(base + ptr))
        return ctypes.string_at(base + ptr, size)

    def write(self, ptr: int, data: bytes | bytearray | memoryview) -> None:
        """Copy ``data`` in.

        Raises:
            GuestMemoryError: the region is not all inside the memory; nothing was written.
            TypeError, ValueError: the pointer is no int, or below -2**31; the data are no bytes.
        """
        base, total = self._region()
        if not (ptr.__class__ is int and ptr >= 0):
            ptr = _unsigned(ptr, "pointer")
        copied = data if isinstance(data, bytes) else bytes(memoryview(data))
        if ptr + len(copied) > total:
            raise _outside("write", ptr, len(copied), total)
        ctypes.memmove(base + ptr, copied, len(copied))

    def __repr__(self) -> str:
        return f"<Memory of {self.size:,} bytes>"


def _unsigned(number: object, what: str) -> int:
    """Return the unsigned 32-bit number that is meant; one that is too large is unchanged."""
    try:
        whole = index(number)  # type: ignore[arg-type]  # it raises for what is no integer
    except TypeError:
        message = f"a {what} in a guest's memory is an int, not {shown(number)}"
        raise TypeError(message) from None
    if whole < -(1 << 31):
        message = f"a {what} in a guest's memory is from -2**31 to 2**32 - 1, not {shown(whole)}"
        raise ValueError(message)
    return whole if whole >= 0 else whole + (1 << 32)


def _outside(what: str, ptr: int, size: int, total: int) -> GuestMemoryError:
    many = f"{size:,}" if size <= _U32 else shown(size)
    where = f"{ptr:#x}" if ptr <= _U32 else shown(ptr)
    message = f"cannot {what} {many} bytes at {where}: the guest's memory has {total:,} bytes"
    if not total:
        message += "; it needs the export 'memory'"
    return GuestMemoryError(message)
