"""One table of a configuration file: its keys are read by type, and each error says where."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from wasmpool_host.lowlevel import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    T = TypeVar("T")

__all__ = ["ConfigError", "Table", "Wrong"]

_LONGEST: Final = 100
"""Characters of a key in a message."""


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file, the key and what there is."""


class Wrong(ValueError):
    """A value is of the wrong type, or out of its range; the message says what it must be."""


@final
class Table:
    """A table of a configuration file.

    Args:
        file: the file's name, for messages.
        values: what the table holds.
        path: the keys that lead to it.
    """

    def __init__(self, file: str, values: Mapping[str, Any], path: tuple[str, ...] = ()) -> None:
        self._file = file
        self._values = values
        self._path = path

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def check_keys(self, known: Collection[str]) -> None:
        """Refuse keys that do not exist.

        Raises:
            ConfigError: the message has the most similar of those that do, and all of them.
        """
        for key in self._values:
            if key not in known:
                similar = get_close_matches(key[:_LONGEST], known, n=1)
                meant = f"; did you mean {similar[0]}? There" if similar else "; there"
                raise self.error(key, f"there is no such key{meant} are: {', '.join(known)}")

    def read(self, key: str, reader: Callable[[Any], T]) -> T:
        """Return the value of a key that is there.

        Args:
            key: the key.
            reader: checks and converts the value, and raises `Wrong`.

        Raises:
            ConfigError: the value was refused.
        """
        try:
            return reader(self._values[key])
        except Wrong as wrong:
            raise self.error(key, str(wrong)) from None

    def get(self, key: str, reader: Callable[[Any], T], default: T) -> T:
        """Return the value of a key, or the default if it is not there."""
        return self.read(key, reader) if key in self._values else default

    def inner(self, key: str) -> Table:
        """Return the table of a key; an empty one if it is not there."""
        values = self._values.get(key, {})
        if type(values) is not dict:
            raise self.error(key, "must be a table")
        return Table(self._file, values, (*self._path, key))

    def error(self, key: str | None, sentence: str) -> ConfigError:
        """Return an error for a key of this table, or for the table itself."""
        path = ".".join(map(_shown, self._path if key is None else (*self._path, key)))
        where = f"{escaped(self._file)}: {path}" if path else escaped(self._file)
        return ConfigError(f"{where}: {sentence}")


def _shown(key: str) -> str:
    text = escaped(key if len(key) <= _LONGEST else f"{key[:_LONGEST]}...")
    plain = text.replace("-", "").replace("_", "")
    return text if plain.isascii() and plain.isalnum() else f'"{text}"'
