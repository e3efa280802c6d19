"""Going on with a run that ended before its input did.

The output itself says how many lines are done. A small file beside it says of which input they are
the results: a digest of the first bytes of the input, as many as were read when it was written. It
is written before any row of a line that was read later. So whenever a run is killed, the lines of
all rows in the output are within the digest; and it is written once for each piece of the input
that is read, not for each row. A run that ends in order writes it a last time, for exactly the
lines that have rows: what follows them in the input may then be changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from codecs import BOM_UTF8
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, final

import attrs
import trio

from .shown import shown
from .standard_streams import write_all
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wasmpool._batch.ordered import Done

    from .streams import InputSource

__all__ = ["InputChanged", "Record", "ResumedInput", "RunRecord"]

_LONGEST: Final = 1 << 20
"""Bytes of the record; the arguments of a program are in it."""
_FORM: Final = 1
"""Of the record; another one is of another version."""


class InputChanged(Exception):
    """The input is not the one that the results are of; the message says in what."""


@final
@attrs.frozen(kw_only=True)
class Record:
    """What is in the file beside the output."""

    size: int
    """Bytes of the input that were read."""
    digest: str
    """Their SHA-256, in hexadecimal."""
    work: dict[str, Any]
    """What was done with each line."""

    def to_json(self) -> bytes:
        """Return it as a line of JSON."""
        return json.dumps({"form": _FORM, **attrs.asdict(self)}).encode() + b"\n"

    @classmethod
    def read(cls, path: str) -> Self | None:
        """Read the file; None if there is none.

        Raises:
            WrongUse: it is no record.
            OSError: it cannot be read.
        """
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - a name as it was given
                found = json.loads(file.read(_LONGEST))
            if found.pop("form") == _FORM:
                return cls(**_checked(found))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise WrongUse(f"{shown(path)} is no record of a run: {error}") from error
        raise WrongUse(f"{shown(path)} is of another version of wasmpool")


def _checked(found: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a record, if they have the right types.

    Raises:
        TypeError: the message names one that has not.
    """
    for name, type_ in (("size", int), ("digest", str), ("work", dict)):
        if type(found.get(name)) is not type_:
            raise TypeError(f"its {name} is {shown(repr(found.get(name)))}")
    return found


@final
class ResumedInput:
    """An input that is read with a digest, from its start or behind lines that have results.

    Args:
        source: the whole input.
    """

    def __init__(self, source: InputSource) -> None:
        self._source = source
        self._ahead = bytearray()
        self._hash = hashlib.sha256()
        self._first = b""
        self._last = b""
        self.read_size = 0
        """Bytes that were read."""
        self.skipped = 0
        """Bytes of the lines that have results."""
        self.hash_of_skipped = self._hash.copy()

    @property
    def begins_with_mark(self) -> bool:
        """True if it begins with a byte order mark, which is no part of a line."""
        return self._first == BOM_UTF8

    @property
    def size(self) -> int | None:
        """The bytes that are left; None if it is not known."""
        size = self._source.size
        return None if size is None else max(0, size - self.skipped)

    @property
    def digest(self) -> str:
        """Of what was read."""
        return self._hash.hexdigest()

    async def read(self) -> bytes:
        """Return the next bytes behind the lines that have results."""
        if self._ahead:
            await trio.lowlevel.checkpoint()
            block = bytes(self._ahead)
            self._ahead.clear()
            return block
        block = await self._source.read()
        self._note(block)
        return block

    async def aclose(self) -> None:
        """Read no more."""
        await self._source.aclose()

    async def skip(self, lines: int, record: Record) -> None:
        """Read what the record is of, and leave out so many lines.

        Raises:
            InputChanged: it is not the input that the record is of.
            OSError: it cannot be read.
        """
        left = lines
        beyond = b""
        while self.read_size < record.size:
            block = await self._source.read()
            if not block:
                raise InputChanged(f"it has only {self.read_size:,} bytes of {record.size:,}")
            within = record.size - self.read_size
            left = self._skip(block[:within], left)
            beyond = block[within:]
        if self.digest != record.digest:
            raise InputChanged(f"its first {record.size:,} bytes are others")
        if left:
            await self._skip_line_without_ending(left, beyond)
        else:
            self._ahead += beyond
            self._note(beyond)

    async def _skip_line_without_ending(self, left: int, beyond: bytes) -> None:
        """Leave out a last line that has no ending: nothing may follow it now."""
        if left > 1 or self._last == b"\n":
            raise InputChanged(f"there are {left:,} more results than lines")
        if beyond or await self._source.read():
            raise InputChanged("its last line, which has a result, goes on")
        self._mark_skipped()

    def _skip(self, block: bytes, left: int) -> int:
        """Note a block, and keep what is behind the lines to leave out; return how many remain."""
        if not left:
            self._note(block)
            self._ahead += block
            return 0
        behind, left = _behind_lines(block, left)
        self._note(block[:behind])
        if not left:
            self._mark_skipped()
            self._note(block[behind:])
            self._ahead += block[behind:]
        return left

    def _mark_skipped(self) -> None:
        self.skipped = self.read_size
        self.hash_of_skipped = self._hash.copy()

    def _note(self, block: bytes) -> None:
        if len(self._first) < len(BOM_UTF8):
            self._first = (self._first + block)[: len(BOM_UTF8)]
        self._hash.update(block)
        self.read_size += len(block)
        self._last = block[-1:] or self._last


def _behind_lines(block: bytes, lines: int) -> tuple[int, int]:
    """Return where so many lines end in a block, and how many of them it does not have."""
    count = block.count(b"\n")
    if count < lines:
        return len(block), lines - count
    end = 0
    for _ in range(lines):
        end = block.index(b"\n", end) + 1
    return end, 0


@final
class RunRecord:
    """The file beside the output, while a run goes on.

    Args:
        path: its name.
        source: the input.
        work: what is done with each line.
    """

    # Invariant: the lines of all rows that are written end before _recorded.

    def __init__(self, path: str, source: ResumedInput, work: dict[str, Any]) -> None:
        self.name = path
        self._source = source
        self._work = work
        self._recorded = -1
        self._written = source.skipped
        self._hash_of_written: Any = source.hash_of_skipped.copy()

    async def cover(self, done: Iterable[Done]) -> None:
        """See to it that the lines of these rows are within the record, before they are written.

        Raises:
            OSError: the record cannot be written.
        """
        if not self._written and self._source.begins_with_mark:
            self._add(BOM_UTF8)
        for each in done:
            if each.chunk.too_long:  # its bytes are gone
                self._hash_of_written = None
                self._written += each.size
            else:
                self._add(each.data)
        if self._written > self._recorded:
            assert self._written <= self._source.read_size
            await self._write(self._source.read_size, self._source.digest)

    async def finish(self) -> None:
        """Make the record one of exactly the lines that have rows, if their bytes are known.

        Raises:
            OSError: the record cannot be written.
        """
        if self._hash_of_written is not None and self._written != self._recorded:
            await self._write(self._written, self._hash_of_written.hexdigest())

    def _add(self, data: bytes) -> None:
        self._written += len(data)
        if self._hash_of_written is not None:
            self._hash_of_written.update(data)

    async def _write(self, size: int, digest: str) -> None:
        self._recorded = size
        content = Record(size=size, digest=digest, work=self._work).to_json()
        await trio.to_thread.run_sync(_replace, self.name, content)


def _replace(path: str, content: bytes) -> None:
    """Write a file under another name, and rename it when it is complete."""
    new = f"{path}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(new, flags, 0o666)
    try:
        write_all(descriptor, content)  # a full disk takes a part of it first
    finally:
        os.close(descriptor)
    Path(new).replace(path)
