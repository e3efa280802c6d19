"""Large JSON, read in pieces so that other tasks run in between.

A C parser blocks the event loop until it returns. It holds the GIL, so a thread would not help:
16 MiB of ``{},`` take 0.6 s. So JSON from an untrusted source that is larger than `SMALL` is read
here: outside of strings token by token, with a limit on their number; inside of strings `PIECE`
bytes at a time. The values are the same as those of the standard library, which reads each piece of
a string; this module only decides where to cut.

All functions here that read are `Cooperative` generators: they yield where other tasks may run.
`run_cooperatively` drives them.

Rejected: cutting out the long strings and giving the rest to the parser. Finding them is nearly all
of the work, and the rest may be just as large.
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
    Cooperative: TypeAlias = Generator[None, None, T]

__all__ = ["PIECE", "SMALL", "Members", "read_members", "read_text", "run_cooperatively"]

SMALL: Final = 64 << 10
"""Bytes that may be parsed in one step, in 1 ms, or 3 ms if they are all numbers."""
PIECE: Final = 64 << 10
"""Bytes of text that are converted in one step, in 0.5 ms."""

_MAX_DEPTH: Final = 500
_TOKENS: Final = 1_000
"""Between two yields: 0.5 ms."""
_WINDOW: Final = 4 << 10
"""Bytes that are searched for the next token; few tokens are longer."""
_CUT_OFF: Final = len("e-")
"""Bytes of a number that the pattern may leave out if the window ends within the number."""

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
"""The inside of a string, in whole characters and escapes."""

_MAX_NAME: Final = 6 * 32
"""Bytes of a wanted name, if each of its characters is escaped."""
_ESCAPE: Final = len(r"\uXXXX")

# --- the states: what to do with the next token, by its first byte ---

_OBJECT: Final = ord("{")
_ARRAY: Final = ord("[")
_NUMBER: Final = ord("0")  # stands for all of null, true, false and numbers

_OPEN: Final = object()
_CLOSE: Final = object()
_END: Final = object()
"""The token is a whole value."""
_NAME: Final = object()


def _state(**signs: object) -> dict[int, object]:
    """Return a state: the action for each token that it allows."""
    return {_SIGNS[name]: action for name, action in signs.items()}


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
"""Values by name: a string as its pieces, any other value as its JSON."""


async def run_cooperatively(work: Cooperative[T], checkpoint: Callable[[], Awaitable[None]]) -> T:
    """Run a generator to its end, with a checkpoint at each yield."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # StopIteration is untyped
        await checkpoint()


def read_text(data: bytes, add: Callable[[str], object]) -> Cooperative[None]:
    """Decode UTF-8 in pieces, with replacement characters for invalid bytes."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    for at in range(0, len(data), PIECE):
        add(decode(data[at : at + PIECE], at + PIECE >= len(data)))
        yield


def read_members(
    text: bytes, wanted: Collection[str], max_tokens: int
) -> Cooperative[Members | None]:
    """Read some members of a JSON object.

    Args:
        text: the JSON, in UTF-8.
        wanted: the names of the members, of at most 32 characters. If a name is repeated, the last
            member counts.
        max_tokens: the most tokens that the text may have.

    Returns:
        the wanted members that the object has; None if the JSON is not an object.

    Raises:
        ValueError: the text is not JSON, has too many tokens, or is nested too deeply.
    """
    return (yield from _MemberReader(text, wanted).read(max_tokens))


class _MemberReader:
    # Invariants:
    # - `_open` has the opening bracket of each open object and list; `_state` says what may follow
    # - `_name` is the wanted member whose value is being read, or None; the value began at `_began`

    def __init__(self, text: bytes, wanted: Collection[str]) -> None:
        self._text = text
        self._wanted = wanted
        self._state: dict[int, object] = _VALUE
        self._open = bytearray()
        self._is_object = False
        self._name: str | None = None
        self._began = 0
        self._found: Members = {}

    def read(self, max_tokens: int) -> Cooperative[Members | None]:
        text, match = self._text, _TOKEN.match
        at = next_yield = 0
        for count in range(max_tokens):
            if at > next_yield or not count % _TOKENS:
                next_yield = at + PIECE
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
        raise ValueError(f"it has more than {max_tokens:,} tokens")

    def _take(self, sign: int, start: int, end: int, pieces: list[str] | None) -> bool:
        """Take a token; return True if it ends the outermost value."""
        action = self._state.get(sign)
        if action is None:
            raise _unexpected(start)
        if isinstance(action, dict):
            self._state = action
            return False
        outside = len(self._open) == 1
        if action is _NAME:
            if outside:
                self._name = self._wanted_name(start, end)
            self._state = _AFTER_NAME
            return False
        if outside and action is not _CLOSE:
            self._began = start
        if action is _OPEN:
            self._is_object = self._is_object or (sign == _OBJECT and not self._open)
            self._open.append(sign)
            self._state = _ITEM_OR_END if sign == _ARRAY else _MEMBER_OR_END
            if len(self._open) > _MAX_DEPTH:
                raise ValueError("it is nested too deeply")
            return False
        if action is _CLOSE:
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
        if end - start > _MAX_NAME + 2:
            return None
        name, _ = scanstring(self._text[start + 1 : end].decode(), 0, True)  # noqa: FBT003 - its form
        return name if name in self._wanted else None

    def _end_of_number(self, start: int) -> int:
        """Return the end of a number that is longer than the window."""
        token = _TOKEN.match(self._text, start, start + SMALL)
        assert token is not None
        if token.end() + _CUT_OFF >= token.endpos < len(self._text):
            raise ValueError(f"it has a number of more than {SMALL:,} digits")
        return token.end()

    def _end(self, at: int) -> Cooperative[None]:
        """Check that only white space follows."""
        while at < len(self._text):
            piece = self._text[at : at + PIECE]
            if piece.strip(b" \t\n\r"):
                raise _unexpected(at)
            at += len(piece)
            yield

    # --- strings ---

    def _read_string(self, start: int) -> Cooperative[tuple[int, list[str]]]:
        """Read a string that is long, or that has escapes or non-ASCII characters.

        A string that is not wanted is read as well, to check that it is valid.

        Returns:
            where it ends, and its pieces.
        """
        end = yield from self._end_of_string(start + 1)
        kept = self._state is _VALUE and len(self._open) == 1 and self._name is not None
        pieces: list[str] = []
        at = start + 1
        while at < end:
            stop = self._cut(at, min(at + PIECE, end), end)
            characters, _ = scanstring(self._text[at:stop].decode() + '"', 0, True)  # noqa: FBT003 - its form
            if stop < end and "\ud800" <= characters[-1] <= "\udbff":
                # Half of a surrogate pair, as an escape: it must be read with the other half.
                characters, stop = characters[:-1], stop - _ESCAPE
            if kept:
                pieces.append(characters)
            at = stop
            if at < end:
                yield
        return end + 1, pieces

    def _end_of_string(self, at: int) -> Cooperative[int]:
        """Return where the closing quotation mark is."""
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
        """Move the end of a piece back, so that it cuts no escape and no character in two."""
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
            if text[stop] & 0xC0 != 0x80:  # the first byte of a character
                break
            stop -= 1
        return stop


def _unexpected(at: int) -> ValueError:
    return ValueError(f"unexpected at byte {at:,}")
