"""Guest memory for WASI functions: pointers and lengths are checked before a function acts."""

from __future__ import annotations

from typing import Protocol

from .errno import Errno, WasiError
from .guest_path import MAX_PATH, check_path
from .layout import IOVEC

__all__ = [
    "MAX_TRANSFER",
    "GuestMemory",
    "check_region",
    "gather",
    "read_path",
    "read_vectors",
    "scatter",
    "transfer_size",
]

# The work of a call is limited before it starts: a guest that passed a million buffers delayed the
# loop for 244 ms. 1,024 is Linux's limit (IOV_MAX).
_MAX_VECTORS = 1024

MAX_TRANSFER = 2**20
"""Maximum bytes of one read or write; the guest gets the number, as for any short write."""


class GuestMemory(Protocol):
    """A guest's linear memory; reads and writes outside of it raise `GuestMemoryError`."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read(self, ptr: int, size: int, /) -> bytes:
        """A copy of the `size` bytes at `ptr`."""
        ...

    def write(self, ptr: int, data: bytes, /) -> object:
        """Copy `data` to `ptr`."""


def check_region(memory: GuestMemory, ptr: int, size: int) -> None:
    """Raise ``FAULT`` unless the region is inside the memory.

    For regions that are written after the function has acted: a guest that passes an invalid
    pointer must not get half of the call.
    """
    if ptr + size > memory.size:
        raise WasiError(Errno.FAULT)


def read_vectors(memory: GuestMemory, ptr: int, count: int) -> list[tuple[int, int]]:
    """The (pointer, length) pairs of an ``$iovec_array``; all are inside the memory."""
    if count > _MAX_VECTORS:
        raise WasiError(Errno.INVAL)
    pairs = list(IOVEC.iter_unpack(memory.read(ptr, count * IOVEC.size)))
    size = memory.size
    for start, length in pairs:
        if start + length > size:
            raise WasiError(Errno.FAULT)
    return pairs


def transfer_size(pairs: list[tuple[int, int]]) -> int:
    """The total size of the buffers, at most `MAX_TRANSFER`."""
    return min(sum(length for _, length in pairs), MAX_TRANSFER)


def gather(memory: GuestMemory, ptr: int, count: int) -> bytes:
    """The content of the buffers of a ``$ciovec_array``, at most `MAX_TRANSFER` bytes."""
    chunks = []
    left = MAX_TRANSFER
    for start, length in read_vectors(memory, ptr, count):
        chunk = memory.read(start, min(length, left))
        chunks.append(chunk)
        left -= len(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def scatter(memory: GuestMemory, pairs: list[tuple[int, int]], data: bytes) -> None:
    """Fill the buffers with `data`, in order."""
    done = 0
    for start, length in pairs:
        if done == len(data):
            return
        chunk = data[done : done + length]
        memory.write(start, chunk)
        done += len(chunk)


def read_path(memory: GuestMemory, ptr: int, size: int) -> bytes:
    """A path, in bytes: file names on Linux need not be UTF-8."""
    if size > MAX_PATH:
        raise WasiError(Errno.NAMETOOLONG)
    return check_path(memory.read(ptr, size))
