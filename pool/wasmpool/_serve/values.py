"""The values of a configuration file, by their types.

A message has no value that may be secret. What TOML calls a type is said in its words.
"""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

from wasmpool._size import read_size
from wasmpool_host.lowlevel import escaped, shown

from .table import Wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    T = TypeVar("T")

__all__ = [
    "as_choice",
    "as_digest",
    "as_flag",
    "as_number",
    "as_prefix",
    "as_secret",
    "as_size",
    "as_text",
    "as_texts",
    "as_token",
    "as_whole",
]

_ENVIRONMENT: Final = "env:"
_DIGEST: Final = re.compile("[0-9a-f]{64}", re.IGNORECASE | re.ASCII)
_TOKEN: Final = re.compile("[!-~]{1,1000}", re.ASCII)
"""What a header can hold after ``Bearer``."""
_PREFIX: Final = re.compile("[A-Za-z0-9_./-]{0,100}", re.ASCII)
"""What clients accept in the name of a tool."""
_LONGEST: Final = 1_000_000_000
"""Seconds, some 30 years: a clock can add them."""
_TYPES: Final = {
    str: "a string",
    int: "a whole number",
    float: "a float",
    bool: "true or false",
    list: "an array",
    dict: "a table",
}


def as_text(value: Any) -> str:
    """Read a string that is not empty."""
    if type(value) is not str:
        raise Wrong(f"must be a string, not {_type(value)}")
    if not value.strip():
        raise Wrong("must not be empty")
    return value


def as_texts(value: Any) -> tuple[str, ...]:
    """Read an array of strings."""
    if type(value) is not list:
        raise Wrong(f"must be an array of strings, not {_type(value)}")
    for each in value:
        if type(each) is not str:
            raise Wrong(f"must be an array of strings; one of them is {_type(each)}")
    return tuple(value)


def as_prefix(value: Any) -> str:
    """Read what the names of tools begin with; it may be empty."""
    if type(value) is not str:
        raise Wrong(f"must be a string, not {_type(value)}")
    if not _PREFIX.fullmatch(value):
        raise Wrong(
            "must be at most 100 of the characters that a tool's name can have: ASCII letters, "
            f"digits, '_', '-', '.' and '/', not {shown(value)}"
        )
    return value


def as_flag(value: Any) -> bool:
    """Read true or false."""
    if type(value) is not bool:
        raise Wrong(f"must be true or false, not {_type(value)}")
    return value


def as_whole(value: Any) -> int:
    """Read a whole number, 0 or more."""
    if type(value) is not int:
        raise Wrong(f"must be a whole number, not {_type(value)}")
    if value < 0:
        raise Wrong(f"must be 0 or more, not {shown(value)}")
    return value


def as_number(value: Any) -> float:
    """Read a number of seconds, 0 or more."""
    if type(value) not in (int, float):
        raise Wrong(f"must be a number of seconds, not {_type(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise Wrong(f"must be a finite number of seconds, not {value}")
    if value < 0:
        raise Wrong(f"must be 0 or more seconds, not {shown(value)}")
    if value > _LONGEST:
        raise Wrong(f"must be at most {_LONGEST:,} seconds, not {shown(value)}")
    return value  # type: ignore[no-any-return]  # int or float


def as_size(value: Any) -> int:
    """Read a number of bytes, or a string such as ``"64MiB"``."""
    if type(value) is str:
        size = read_size(value)
        if size is None:
            raise Wrong(f"is not a size: {shown(value)}; give bytes, or a string such as '64MiB'")
        return size
    if type(value) is not int:
        raise Wrong(f"must be bytes, or a string such as '64MiB', not {_type(value)}")
    return as_whole(value)


def as_digest(value: Any) -> str:
    """Read a SHA-256, in lower case."""
    text = as_text(value)
    if not _DIGEST.fullmatch(text):
        raise Wrong(f"must be a SHA-256 of 64 hexadecimal digits, not {shown(text)}")
    return text.lower()


def as_choice(*choices: str) -> Callable[[Any], str]:
    """Return a reader of one of some strings."""

    def read(value: Any) -> str:
        if value not in choices:
            raise Wrong(f"must be {' or '.join(map(repr, choices))}, not {shown(value)}")
        return str(value)

    return read


def as_secret(value: Any) -> str:
    """Read a string; ``"env:NAME"`` stands for the environment variable of that name."""
    if type(value) is not str:
        raise Wrong(f"must be a string, not {_type(value)}")
    if not value.startswith(_ENVIRONMENT):
        return value
    name = value.removeprefix(_ENVIRONMENT)
    found = os.environ.get(name)
    if found is None:
        raise Wrong(f"the environment variable {escaped(name)!r} is not set")
    try:
        found.encode()
    except UnicodeEncodeError:
        raise Wrong(f"the environment variable {escaped(name)!r} is not UTF-8") from None
    return found


def as_token(value: Any) -> str:
    """Read a secret that a client can send in a header."""
    token = as_secret(value)
    if not _TOKEN.fullmatch(token):
        raise Wrong("must be 1 to 1000 visible characters of ASCII")
    return token


def _type(value: Any) -> str:
    return _TYPES.get(type(value), "a date or a time")
