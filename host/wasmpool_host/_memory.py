"""A guest's linear memory, seen from the host."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, final

from ._errors import GuestMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Memory"]

_U32 = 0xFFFF_FFFF


@final
class Memory:
    """Bytes of a guest, copied out and in; nothing here keeps a pointer.

    The base moves and the size grows whenever the guest runs, so both are read afresh at each
    access. Pointers and sizes are taken as unsigned 32-bit numbers: a negative one, as an i32
    parameter comes, means the same as it does to the guest.
    """

    __slots__ = ("_region",)

    def __init__(self, region: Callable[[], tuple[int, int]]) -> None:
        self._region = region

    @property
    def size(self) -> int:
        """Bytes now; 0 for a guest without memory."""
        return self._region()[1]

    def read(self, ptr: int, size: int) -> bytes:
        """Copy ``size`` bytes out.

        Raises:
            GuestMemoryError: the region is not all inside the memory.
        """
        base, total = self._region()
        ptr, size = ptr & _U32, size & _U32
        if ptr + size > total:
            raise _outside("read", ptr, size, total)
        return ctypes.string_at(base + ptr, size)

    def write(self, ptr: int, data: bytes | bytearray | memoryview) -> None:
        """Copy ``data`` in.

        Raises:
            GuestMemoryError: the region is not all inside the memory; nothing was written.
        """
        base, total = self._region()
        ptr = ptr & _U32
        copied = data if isinstance(data, bytes) else bytes(memoryview(data))
        if ptr + len(copied) > total:
            raise _outside("write", ptr, len(copied), total)
        ctypes.memmove(base + ptr, copied, len(copied))

    def __repr__(self) -> str:
        return f"<Memory of {self.size:,} bytes>"


def _outside(what: str, ptr: int, size: int, total: int) -> GuestMemoryError:
    message = f"cannot {what} {size:,} bytes at {ptr:#x}: the guest's memory has {total:,} bytes"
    return GuestMemoryError(message)
