"""``args_*``, ``environ_*``, ``proc_*``, ``random_get`` and ``sched_yield``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

import trio

from wasmpool_host._errors import GuestExit

from .errno import Errno, WasiError
from .guest_memory import check_region
from .layout import U32

if TYPE_CHECKING:
    from .guest_memory import GuestMemory
    from .process import Process

__all__ = [
    "RANDOM_CHUNK",
    "args_get",
    "args_sizes_get",
    "environ_get",
    "environ_sizes_get",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
]

RANDOM_CHUNK = 64 * 1024
"""Bytes of random numbers that are made at once: 0.2 ms."""


def args_get(process: Process, memory: GuestMemory, argv: int, argv_buf: int) -> None:
    """Write the arguments, and pointers to them, to the guest's memory."""
    _put_strings(memory, process.args, argv, argv_buf)


def args_sizes_get(process: Process, memory: GuestMemory, count: int, size: int) -> None:
    """The number of arguments, and their size in bytes."""
    _put_sizes(memory, process.args, count, size)


def environ_get(process: Process, memory: GuestMemory, environ: int, environ_buf: int) -> None:
    """Write the environment, and pointers to it, to the guest's memory."""
    _put_strings(memory, process.env, environ, environ_buf)


def environ_sizes_get(process: Process, memory: GuestMemory, count: int, size: int) -> None:
    """The number of environment variables, and their size in bytes."""
    _put_sizes(memory, process.env, count, size)


def proc_exit(_process: Process, _memory: GuestMemory, status: int) -> NoReturn:
    """End the guest.

    Raises:
        GuestExit: always.
    """
    raise GuestExit(status)


def proc_raise(_process: Process, _memory: GuestMemory, _signal: int) -> None:
    """``NOTSUP``: there are no signals."""
    raise WasiError(Errno.NOTSUP)


async def random_get(_process: Process, memory: GuestMemory, buf: int, size: int) -> None:
    """Fill the buffer from the system's random generator.

    The contract requires to fill all of it. A large buffer is filled in chunks, with a checkpoint
    between them.
    """
    check_region(memory, buf, size)
    for start in range(0, size, RANDOM_CHUNK):
        if start:
            await trio.lowlevel.checkpoint()
        memory.write(buf + start, os.urandom(min(size - start, RANDOM_CHUNK)))


async def sched_yield(_process: Process, _memory: GuestMemory) -> None:
    """A checkpoint: other tasks run."""
    await trio.lowlevel.checkpoint()


def _put_strings(memory: GuestMemory, strings: list[bytes], array: int, buffer: int) -> None:
    pointers = bytearray()
    position = buffer
    for string in strings:
        pointers += U32.pack(position & 0xFFFF_FFFF)
        position += len(string)
    check_region(memory, array, len(pointers))
    memory.write(buffer, b"".join(strings))
    memory.write(array, bytes(pointers))


def _put_sizes(memory: GuestMemory, strings: list[bytes], count: int, size: int) -> None:
    check_region(memory, size, U32.size)
    memory.write(count, U32.pack(len(strings)))
    memory.write(size, U32.pack(sum(map(len, strings))))
