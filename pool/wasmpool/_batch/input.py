"""The input of `map_lines` as blocks of bytes: a file, or lines of a program."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterable, Iterable, Mapping
from inspect import isasyncgen
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias, final

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .feed import Blocks

__all__ = ["Lines", "check_lines", "open_blocks"]

Lines: TypeAlias = "os.PathLike[str] | Iterable[str | bytes] | AsyncIterable[str | bytes]"
"""A file with lines, or the lines, one by one."""

_BLOCK: Final = 256 << 10
"""Bytes of a read."""
_ITEMS: Final = 100
"""Items of an iterable that make a block: other tasks run in between."""


def check_lines(lines: object) -> None:
    """Refuse what is no input.

    Raises:
        TypeError: it is neither a path nor an iterable of lines.
    """
    wanted = "map_lines takes the path of a file, or an iterable or async iterable of lines"
    if isinstance(lines, (str, bytes, Mapping)):
        hint = ": give pathlib.Path(...) for a file" if isinstance(lines, str) else ""
        raise TypeError(f"{wanted}, not a {type(lines).__name__}{hint}")
    if not isinstance(lines, (os.PathLike, Iterable, AsyncIterable)):
        raise TypeError(f"{wanted}, not {lines!r}")


async def open_blocks(lines: Lines) -> Blocks:
    """Open an input that was checked; who reads it closes it.

    Raises:
        OSError: the file cannot be opened, or is no regular file.
    """
    if isinstance(lines, os.PathLike):
        return await trio.to_thread.run_sync(_FileBlocks, lines)
    if isinstance(lines, AsyncIterable):
        return _AsyncBlocks(lines)
    return _ItemBlocks(iter(lines))


@final
class _FileBlocks:
    """A regular file: it does not keep a cancel waiting, as a pipe would."""

    def __init__(self, path: os.PathLike[str]) -> None:
        self._file = open(path, "rb", buffering=0, opener=_open)  # noqa: SIM115 - closed below
        status = os.fstat(self._file.fileno())
        if not stat.S_ISREG(status.st_mode):
            self._file.close()
            raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
        self.size = status.st_size

    async def read(self) -> bytes:
        return await trio.to_thread.run_sync(self._file.read, _BLOCK)

    async def aclose(self) -> None:
        self._file.close()
        await trio.lowlevel.checkpoint()


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # to open a pipe does not wait for its other end


@final
class _ItemBlocks:
    size: None = None

    def __init__(self, items: Iterator[str | bytes]) -> None:
        self._items = items

    async def read(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return b"".join(map(_line, islice(self._items, _ITEMS)))

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@final
class _AsyncBlocks:
    size: None = None

    def __init__(self, items: AsyncIterable[str | bytes]) -> None:
        self._items: object = items
        self._iterator = aiter(items)

    async def read(self) -> bytes:
        async for item in self._iterator:
            return _line(item)
        return b""

    async def aclose(self) -> None:
        if isasyncgen(self._items):  # left alone, it would wait for the garbage collector
            await self._items.aclose()
        await trio.lowlevel.checkpoint()


def _line(item: object) -> bytes:
    if isinstance(item, str):
        item = item.encode()
    if not isinstance(item, bytes):
        raise TypeError(f"a line is a str or bytes, not {item!r}")
    if not item.endswith(b"\n"):
        item += b"\n"
    if item.count(b"\n") > 1:
        raise ValueError(f"a line has no line ending but its last character, not {item[:100]!r}")
    return item
