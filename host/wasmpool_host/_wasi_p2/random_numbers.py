"""``wasi:random``: all of it from the system's random generator, also what may be insecure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import trio

from wasmpool_host._wasi.process_functions import RANDOM_CHUNK

from .failure import broken_contract

if TYPE_CHECKING:
    from wasmpool_host._wasi.process import Process

__all__ = ["get_random_bytes", "get_random_u64", "insecure_seed"]

_MOST: Final = 2**20
"""Bytes of one call. By the contract it cannot give less than it is asked for; each takes up to 40
bytes on its way to the component."""


async def get_random_bytes(_process: Process, size: int) -> bytes:
    """As many random bytes, in chunks with a checkpoint between them.

    Raises:
        GuestTrap: there are more than 1 MiB.
    """
    if size > _MOST:
        message = f"wasi:random: {size:,} random bytes at once; {_MOST:,} are allowed"
        raise broken_contract(message)
    chunks = []
    for start in range(0, size, RANDOM_CHUNK):
        if start:
            await trio.lowlevel.checkpoint()
        chunks.append(os.urandom(min(size - start, RANDOM_CHUNK)))
    return b"".join(chunks)


def get_random_u64(_process: Process) -> int:
    """A random number of 64 bits."""
    return int.from_bytes(os.urandom(8), "little")


def insecure_seed(process: Process) -> tuple[int, int]:
    """Two random numbers of 64 bits."""
    return get_random_u64(process), get_random_u64(process)
