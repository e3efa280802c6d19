"""``args_*``, ``environ_*``, ``proc_*``, ``random_get`` and ``sched_yield``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

import trio

from wasmpool_host._errors import GuestExit

from .errno import Errno, WasiError
from .layout import U32
from .memory import check

if TYPE_CHECKING:
    from .memory import Memory
    from .process import Process

__all__ = [
    "args_get",
    "args_sizes_get",
    "environ_get",
    "environ_sizes_get",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
]

_RANDOM_PIECE = 64 * 1024  # bytes; 0.2 ms


def args_get(process: Process, memory: Memory, argv: int, argv_buf: int) -> None:
    """Put the arguments where the guest says, and pointers to them."""
    _put_strings(memory, process.args, argv, argv_buf)


def args_sizes_get(process: Process, memory: Memory, count: int, size: int) -> None:
    """How many arguments there are, and how many bytes they take."""
    _put_sizes(memory, process.args, count, size)


def environ_get(process: Process, memory: Memory, environ: int, environ_buf: int) -> None:
    """Put the environment where the guest says, and pointers to it."""
    _put_strings(memory, process.env, environ, environ_buf)


def environ_sizes_get(process: Process, memory: Memory, count: int, size: int) -> None:
    """How many variables there are, and how many bytes they take."""
    _put_sizes(memory, process.env, count, size)


def proc_exit(_process: Process, _memory: Memory, status: int) -> NoReturn:
    """End the guest.

    Raises:
        GuestExit: always.
    """
    raise GuestExit(status)


def proc_raise(_process: Process, _memory: Memory, _signal: int) -> None:
    """There are no signals here: ``NOTSUP``."""
    raise WasiError(Errno.NOTSUP)


async def random_get(_process: Process, memory: Memory, buf: int, size: int) -> None:
    """Fill the buffer from the system's generator.

    All of it, as the contract wants; a large one lets others run between its pieces.
    """
    check(memory, buf, size)
    for start in range(0, size, _RANDOM_PIECE):
        if start:
            await trio.lowlevel.checkpoint()
        memory.write(buf + start, os.urandom(min(size - start, _RANDOM_PIECE)))


async def sched_yield(_process: Process, _memory: Memory) -> None:
    """A checkpoint: everybody else gets a turn."""
    await trio.lowlevel.checkpoint()


def _put_strings(memory: Memory, strings: list[bytes], array: int, buffer: int) -> None:
    pointers = bytearray()
    position = buffer
    for string in strings:
        pointers += U32.pack(position & 0xFFFF_FFFF)
        position += len(string)
    check(memory, array, len(pointers))
    memory.write(buffer, b"".join(strings))
    memory.write(array, bytes(pointers))


def _put_sizes(memory: Memory, strings: list[bytes], count: int, size: int) -> None:
    check(memory, size, U32.size)
    memory.write(count, U32.pack(len(strings)))
    memory.write(size, U32.pack(sum(map(len, strings))))
