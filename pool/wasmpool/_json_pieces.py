"""Large JSON in pieces, between which the loop goes on.

One call of a parser written in C holds the loop for as long as it takes, and the GIL with it, so a
thread would not help: 16 MiB of ``{},`` take it 0.6 s. What an untrusted side sends, and what is
larger than `SMALL`, is therefore read here: token by token outside of strings, with a bound on
their number, and `PIECE` bytes at a time inside of strings. What comes out is what the standard
library makes of the whole. It reads each piece of a string; only the cuts are found here.

Everything here is a generator of `Steps`: it yields where the loop should have its turn. `in_turns`
drives it.

Rejected: to cut out the long strings, and to give the parser the rest. To find them is nearly the
whole work, and the rest may be as large.
"""

from __future__ import annotations

import codecs
import re
from json.decoder import scanstring  # type: ignore[attr-defined]  # not in its stubs
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Generator
    from typing import TypeAlias, TypeVar

    T = TypeVar("T")
    Steps: TypeAlias = Generator[None, None, T]

__all__ = ["PIECE", "SMALL", "Members", "in_turns", "read_members", "read_text"]

SMALL: Final = 64 << 10
"""Bytes that may be parsed at once: it takes 1 ms, or 3 ms if they are all numbers."""
PIECE: Final = 64 << 10
"""Bytes of text that are converted at once, in 0.5 ms."""

_DEEPEST: Final = 500
_TOKENS: Final = 1_000
"""From one turn of the loop to the next: 0.5 ms."""
_WINDOW: Final = 4 << 10
"""Bytes that a token is looked for in; few are longer."""
_CUT_OFF: Final = len("e-")
"""Bytes of a number that may be left out where the window ends in the midst of it."""

_TOKEN: Final = re.compile(
    rb"""[ \t\n\r]*+(?:
      ([\[\]{},:])
    | ("[^"\\\x00-\x1f\x80-\xff]*+")  # needs no decoding
    | (")
    | (-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?|null|true|false|NaN|-?Infinity)
    )?""",
    re.VERBOSE,
)
_PLAIN: Final = 2
_QUOTE: Final = 3
_SCALAR: Final = 4
_UNITS: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
"""The inside of a string, where no escape is cut in two."""

_LONGEST_NAME: Final = 6 * 32
"""Bytes of a member's name that is wanted, with each of its characters escaped."""
_ESCAPE: Final = len(r"\uXXXX")

# --- what may come next: by the first byte of a token, what is to be done with it ---

_OBJECT: Final = ord("{")
_ARRAY: Final = ord("[")
_NUMBER: Final = ord("0")  # stands for all of null, true, false and numbers

_OPEN: Final = object()
_CLOSE: Final = object()
_END: Final = object()
"""It is a whole value."""
_NAME: Final = object()


def _state(**signs: object) -> dict[int, object]:
    """What is to be done with each token that a state allows, by its first byte."""
    return {_SIGNS[name]: do for name, do in signs.items()}


_SIGNS: Final = {
    "object": _OBJECT, "array": _ARRAY, "end_of_object": ord("}"), "end_of_array": ord("]"),
    "comma": ord(","), "colon": ord(":"), "string": ord('"'), "scalar": _NUMBER,
}  # fmt: skip

_VALUE: Final = _state(object=_OPEN, array=_OPEN, string=_END, scalar=_END)
_ITEM_OR_END: Final = {**_VALUE, **_state(end_of_array=_CLOSE)}
_AFTER_ITEM: Final = _state(comma=_VALUE, end_of_array=_CLOSE)
_AFTER_NAME: Final = _state(colon=_VALUE)
_MEMBER: Final = _state(string=_NAME)
_MEMBER_OR_END: Final = _state(string=_NAME, end_of_object=_CLOSE)
_AFTER_MEMBER: Final = _state(comma=_MEMBER, end_of_object=_CLOSE)

Members: TypeAlias = dict[str, "list[str] | bytes"]
"""Values by name: the pieces of a string, or the JSON of anything else."""


async def in_turns(steps: Steps[T], checkpoint: Callable[[], Awaitable[None]]) -> T:
    """Drive steps to their end, with a checkpoint wherever they yield."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # it is what the steps return
        await checkpoint()


def read_text(data: bytes, add: Callable[[str], object]) -> Steps[None]:
    """Decode UTF-8 in pieces, with replacements for what is none."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    for at in range(0, len(data), PIECE):
        add(decode(data[at : at + PIECE], at + PIECE >= len(data)))
        yield


def read_members(text: bytes, wanted: Collection[str], most: int) -> Steps[Members | None]:
    """Read some members of the object that a JSON text is.

    Args:
        text: in UTF-8.
        wanted: their names, of 32 characters at most. Of members of the same name the last counts.
        most: tokens that there may be in the whole text.

    Returns:
        those that are there; None for JSON that is no object.

    Raises:
        ValueError: it is no JSON, it has more tokens, or is nested too deeply.
    """
    return (yield from _Reader(text, wanted).read(most))


class _Reader:
    # Invariants:
    # - `_open` has the opening bracket of each value that is being read, `_state` what may follow
    # - `_name` is the wanted member whose value is being read, if it is one, and began at `_began`

    def __init__(self, text: bytes, wanted: Collection[str]) -> None:
        self._text = text
        self._wanted = wanted
        self._state: dict[int, object] = _VALUE
        self._open = bytearray()
        self._is_object = False
        self._name: str | None = None
        self._began = 0
        self._found: Members = {}

    def read(self, most: int) -> Steps[Members | None]:
        text, match = self._text, _TOKEN.match
        at = turn = 0
        for count in range(most):
            if at > turn or not count % _TOKENS:
                turn = at + PIECE
                yield
            token = match(text, at, at + _WINDOW)
            assert token is not None  # it may be empty
            kind = token.lastindex
            if kind is None:  # white space
                if token.end() == at:
                    raise _unexpected(at)
                at = token.end()
                continue
            start, at = token.span(kind)
            sign, pieces = text[start], None
            if kind == _QUOTE:
                at, pieces = yield from self._read_string(start)
            elif kind == _SCALAR:
                sign = _NUMBER
                if at + _CUT_OFF >= token.endpos < len(text):
                    at = self._end_of_number(start)
            if self._take(sign, start, at, pieces):
                yield from self._end(at)
                return self._found if self._is_object else None
        raise ValueError(f"it has more than {most:,} tokens")

    def _take(self, sign: int, start: int, end: int, pieces: list[str] | None) -> bool:
        """Take a token; return True if it ends the outermost value."""
        do = self._state.get(sign)
        if do is None:
            raise _unexpected(start)
        if isinstance(do, dict):
            self._state = do
            return False
        outside = len(self._open) == 1
        if do is _NAME:
            if outside:
                self._name = self._wanted_name(start, end)
            self._state = _AFTER_NAME
            return False
        if outside and do is not _CLOSE:
            self._began = start
        if do is _OPEN:
            self._is_object = self._is_object or (sign == _OBJECT and not self._open)
            self._open.append(sign)
            self._state = _ITEM_OR_END if sign == _ARRAY else _MEMBER_OR_END
            if len(self._open) > _DEEPEST:
                raise ValueError("it is nested too deeply")
            return False
        if do is _CLOSE:
            self._open.pop()
        return self._end_value(end, pieces)

    def _end_value(self, end: int, pieces: list[str] | None) -> bool:
        if not self._open:
            return True
        if len(self._open) == 1 and self._name is not None:
            value = self._text[self._began : end]
            self._found[self._name] = value if pieces is None else pieces
            self._name = None
        self._state = _AFTER_ITEM if self._open[-1] == _ARRAY else _AFTER_MEMBER
        return False

    def _wanted_name(self, start: int, end: int) -> str | None:
        if end - start > _LONGEST_NAME + 2:
            return None
        name, _ = scanstring(self._text[start + 1 : end].decode(), 0, True)  # noqa: FBT003
        return name if name in self._wanted else None

    def _end_of_number(self, start: int) -> int:
        """Where one ends that does not end in its window."""
        token = _TOKEN.match(self._text, start, start + SMALL)
        assert token is not None
        if token.end() + _CUT_OFF >= token.endpos < len(self._text):
            raise ValueError(f"it has a number of more than {SMALL:,} digits")
        return token.end()

    def _end(self, at: int) -> Steps[None]:
        """Nothing but white space may follow."""
        while at < len(self._text):
            piece = self._text[at : at + PIECE]
            if piece.strip(b" \t\n\r"):
                raise _unexpected(at)
            at += len(piece)
            yield

    # --- strings ---

    def _read_string(self, start: int) -> Steps[tuple[int, list[str]]]:
        """Read one that is long, or has escapes or other than ASCII; where it ends, and its pieces.

        Those of a string that is not wanted are read all the same, to see that they are right.
        """
        end = yield from self._end_of_string(start + 1)
        kept = self._state is _VALUE and len(self._open) == 1 and self._name is not None
        pieces: list[str] = []
        at = start + 1
        while at < end:
            stop = self._cut(at, min(at + PIECE, end), end)
            characters, _ = scanstring(self._text[at:stop].decode() + '"', 0, True)  # noqa: FBT003
            if stop < end and "\ud800" <= characters[-1] <= "\udbff":
                # Half of a pair, written as an escape: it goes with the other half.
                characters, stop = characters[:-1], stop - _ESCAPE
            if kept:
                pieces.append(characters)
            at = stop
            if at < end:
                yield
        return end + 1, pieces

    def _end_of_string(self, at: int) -> Steps[int]:
        """Where the quotation mark is that ends it."""
        end = self._text.find(b'"', at)
        if end < 0 or self._text[end - 1] != 0x5C:  # a backslash
            if end < 0:
                raise _unexpected(len(self._text))
            return end
        while True:
            units = _UNITS.match(self._text, at, at + SMALL)
            assert units is not None
            if units.end() == at:  # an escape of one byte, at the end of the text
                raise _unexpected(at)
            at = units.end()
            if self._text[at : at + 1] == b'"':
                return at
            yield

    def _cut(self, at: int, stop: int, end: int) -> int:
        """Move the end of a piece to where no escape and no character is cut in two."""
        text = self._text
        if stop == end:
            return end
        escape = text.rfind(b"\\", at, stop)
        if escape > stop - _ESCAPE:
            run = text[at : escape + 1]
            is_escape = (len(run) - len(run.rstrip(b"\\"))) % 2
            size = _ESCAPE if text[escape + 1] == ord("u") else 2
            if is_escape and escape + size > stop:
                return escape
        for _ in range(3):
            if text[stop] & 0xC0 != 0x80:  # it does not continue a character
                break
            stop -= 1
        return stop


def _unexpected(at: int) -> ValueError:
    return ValueError(f"unexpected at byte {at:,}")
