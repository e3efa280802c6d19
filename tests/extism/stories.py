"""Random calls of the guests that have the exports of extism_zig.zig.

A story is a row of calls of one instance, which keeps its variables from call to call. A call that
may cost the instance comes last.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

__all__ = ["CONFIG", "EXPORTS", "Story", "story"]

Call: TypeAlias = tuple[str, bytes]
"""An export and its input."""
Story: TypeAlias = list[Call]

CONFIG: Final = {"name": "wäsmpool", "empty": "", "long": "x" * 5_000, "päth": "/ü", "n": "\n"}

_CALLS_OF_A_STORY: Final = 20
_KEYS: Final = (b"a", b"0", b"k" * 300, "schlüssel".encode(), b"b c")


def story(random: Random, exports: Sequence[str], url: str) -> Story:
    """Return a story of some of `EXPORTS`; requests are sent to this URL."""
    kinds = [kind for kind in _CALLS if kind in exports]
    last = [call for call in (each(random) for each in _LAST) if call[0] in (*exports, "nowhere")]
    made = [_CALLS[random.choice(kinds)](random, url) for _ in range(_CALLS_OF_A_STORY)]
    return [*made, random.choice(last)]


def _bytes(random: Random, most: int = 3_000) -> bytes:
    size = random.choice((0, 1, 7, 8, 9, 15, 16, 17, random.randrange(200), random.randrange(most)))
    return random.randbytes(size)


def _text(random: Random, least: int = 0) -> bytes:
    """A text without zero bytes and line breaks, which either log would write in its own way."""
    letters = "aeiou xyz,.{}\"'%äß漢🦀"
    return "".join(random.choices(letters, k=random.randrange(least, 60))).encode()


def _key(random: Random) -> bytes:
    return random.choice(_KEYS)


def _config(random: Random, _url: str) -> Call:
    return "get_config", random.choice([each.encode() for each in (*CONFIG, "nobody's")])


def _set(random: Random, _url: str) -> Call:
    return "set_var", _key(random) + b"\0" + _bytes(random)


def _fail(random: Random, _url: str) -> Call:
    code = random.choice((0, 1, 7, 127, 128, 255))
    return "fail", bytes([code]) + _text(random)


def _log(random: Random, _url: str) -> Call:
    return "log", random.choice((b"0", b"1", b"2", b"3", b"4", b"5")) + _text(random, 1)


def _fetch(random: Random, url: str) -> Call:
    method = random.choice(
        ("GET", "get", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", None)
    )
    status = random.choice((200, 201, 204, 400, 404, 500))
    target = f"{url}/seen?status={status}&n={random.randrange(1_000)}"
    if method in ("GET", None) and random.random() < 0.5:
        code = random.choice((301, 302, 303, 307, 308))
        target = f"{url}/redirect?code={code}&to={quote(target, safe='')}"
    elif method == "GET":
        target = f"{url}/gzip?size={random.randrange(10_000)}"
    request = {
        "url": target,
        "headers": {f"x-{k}": f"value {k}" for k in range(random.randrange(3))},
    }
    if method is not None:
        request["method"] = method
    body = _bytes(random) if method in ("POST", "PUT", "PATCH") else b""
    return "fetch", json.dumps(request).encode() + b"\0" + body


def _mix(random: Random, _url: str) -> Call:
    numbers = (
        random.randrange(-(1 << 31), 1 << 31), random.randrange(-(1 << 63), 1 << 63),
        random.uniform(-1e6, 1e6), random.uniform(-1e9, 1e9),
    )  # fmt: skip
    return "mix", struct.pack("<iqfd", *numbers)


_CALLS: Final[dict[str, Callable[[Random, str], Call]]] = {
    "echo": lambda random, _: ("echo", _bytes(random)),
    "echo_in_place": lambda random, _: ("echo_in_place", _bytes(random)),
    "tail": lambda random, _: ("tail", _bytes(random)),
    "count_vowels": lambda random, _: ("count_vowels", _text(random)),
    "fail": _fail,
    "recover": lambda random, _: ("recover", _text(random)),
    "get_config": _config,
    "set_var": _set,
    "get_var": lambda random, _: ("get_var", _key(random)),
    "delete_var": lambda random, _: ("delete_var", _key(random)),
    "log": _log,
    "log_level": lambda _, __: ("log_level", b""),
    "fetch": _fetch,
    "transform": lambda random, _: ("transform", _bytes(random)),
    "mix": _mix,
    "blocks": lambda random, _: ("blocks", random.randbytes(3 * random.randrange(200))),
}
"""Calls that leave the instance as it is, but for its variables."""

EXPORTS: Final = (*_CALLS, "trap")
"""What the guests export."""

_LAST: Final[tuple[Callable[[Random], Call], ...]] = (
    lambda _: ("trap", b""),
    lambda _: ("get_var", b""),  # a block of no bytes is no key
    lambda _: ("get_config", b""),
    lambda _: ("set_var", b"full\0" + b"x" * (2 << 20)),
    lambda _: ("fetch", b'{"url": "http://elsewhere.invalid/"}\0'),
    lambda _: ("fetch", b"no JSON\0"),
    lambda _: ("nowhere", b""),
)
"""Calls that fail, and may cost the instance."""
