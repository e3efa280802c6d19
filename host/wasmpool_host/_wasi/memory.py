"""Guest memory as WASI uses it: pointers and lengths are checked before anything is done."""

from __future__ import annotations

from typing import Protocol

from .errno import Errno, WasiError
from .layout import IOVEC

__all__ = ["MAX_TRANSFER", "Memory", "check", "gather", "read_path", "room", "scatter", "vectors"]

# Work per call is bounded before it begins: a guest that named a million buffers held the loop for
# 244 ms. 1,024 is what Linux takes (IOV_MAX).
_MAX_VECTORS = 1024

MAX_TRANSFER = 2**20
"""Bytes one call reads or writes; the guest is told how far it came, as with any short write."""

_MAX_PATH = 4096  # PATH_MAX, which the system would refuse anyway


class Memory(Protocol):
    """A guest's linear memory; both ways raise `GuestMemoryError` outside of it."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read(self, ptr: int, size: int, /) -> bytes:
        """A copy of `size` bytes from `ptr`."""
        ...

    def write(self, ptr: int, data: bytes, /) -> object:
        """Put `data` at `ptr`."""


def check(memory: Memory, ptr: int, size: int) -> None:
    """Raise ``FAULT`` unless the region lies within the memory.

    For regions that are written once something has happened: a guest that gives a wild pointer
    must not get half of its call.
    """
    if ptr + size > memory.size:
        raise WasiError(Errno.FAULT)


def vectors(memory: Memory, ptr: int, count: int) -> list[tuple[int, int]]:
    """The (pointer, length) pairs of an ``$iovec_array``, all within the memory."""
    if count > _MAX_VECTORS:
        raise WasiError(Errno.INVAL)
    pairs = list(IOVEC.iter_unpack(memory.read(ptr, count * IOVEC.size)))
    size = memory.size
    for start, length in pairs:
        if start + length > size:
            raise WasiError(Errno.FAULT)
    return pairs


def room(pairs: list[tuple[int, int]]) -> int:
    """How many bytes the buffers hold together, or what one call may move if that is less."""
    return min(sum(length for _, length in pairs), MAX_TRANSFER)


def gather(memory: Memory, ptr: int, count: int) -> bytes:
    """What the buffers of a ``$ciovec_array`` hold, at most `MAX_TRANSFER` of it."""
    pieces = []
    left = MAX_TRANSFER
    for start, length in vectors(memory, ptr, count):
        piece = memory.read(start, min(length, left))
        pieces.append(piece)
        left -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def scatter(memory: Memory, pairs: list[tuple[int, int]], data: bytes) -> None:
    """Fill the buffers with `data`, in order."""
    done = 0
    for start, length in pairs:
        if done == len(data):
            return
        piece = data[done : done + length]
        memory.write(start, piece)
        done += len(piece)


def read_path(memory: Memory, ptr: int, size: int) -> bytes:
    """A path: its bytes as they are, for file names on Linux need not be UTF-8."""
    if size > _MAX_PATH:
        raise WasiError(Errno.NAMETOOLONG)
    path = memory.read(ptr, size)
    if b"\0" in path:
        raise WasiError(Errno.INVAL)
    return path
