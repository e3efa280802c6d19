"""The options of `open_plugin`: their types, their defaults, and their checks."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

from wasmpool._http.policy import HttpPolicy
from wasmpool._pool.options import Options
from wasmpool_host import Limits
from wasmpool_host.lowlevel import escaped

from .environment import PluginEnvironment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmpool._pool.instruments import Instrument
    from wasmpool._pool.options import QueueOnClose
    from wasmpool._pool.protocols import Check
    from wasmpool_host import Wasi

__all__ = [
    "START_TIMEOUT",
    "PluginOptions",
    "check_digest",
    "check_name",
    "check_options",
    "copy_credentials",
    "new_environment",
    "pool_options",
]

_MIB: Final = 1 << 20

START_TIMEOUT: Final = Options().start_timeout
"""Seconds; the default of ``start_timeout``."""


class PluginOptions(TypedDict, total=False):
    """How a plugin is run. An option without a text here is as for `open_pool`."""

    http: HttpPolicy | None
    """The hosts that it can reach over HTTP; None, the default, is no host."""
    limits: Limits
    """The limits of each instance."""
    wasi: Wasi | None
    """What it can use through WASI; None, the default, is nothing of this machine."""
    cache: str | os.PathLike[str] | None
    """A directory for compiled code."""
    pristine: bool
    """True: each call has an instance of its own, from a snapshot that is configured already."""
    size: int
    min_size: int
    check: Check | None
    max_waiting: int | None
    max_wait: float | None
    max_uses: int | None
    max_age: float | None
    max_idle: float | None
    max_memory: int | None
    """64 MiB by default: many guests leak memory, and an instance that does is replaced."""
    start_timeout: float
    grace: float
    """310 s by default: longer than any HTTP request of the plugin can take."""
    max_generations: int
    """8 by default: an old generation may have to wait long for its calls."""
    queue_on_close: QueueOnClose
    leak_after: float | None
    instruments: Sequence[Instrument]


_POOL_DEFAULTS: Final[Mapping[str, Any]] = {
    "max_memory": 64 * _MIB,
    "grace": 310.0,
    "max_generations": 8,
}
_OTHER_OPTIONS: Final = frozenset({"http", "limits", "wasi", "cache", "pristine"})
"""Those that a pool does not have."""


def check_options(call: str, options: PluginOptions, *others: str) -> PluginOptions:
    """Check the options of a call, and return a copy that nothing else can change.

    Args:
        call: the function that was called, for error messages.
        options: as it was given.
        others: the names of the call's other keyword arguments.

    Raises:
        TypeError, ValueError: an option is unknown or out of its range.
    """
    if "setup" in options:
        message = (
            f"{call} takes no setup: a plugin is set up by its credentials. Use open_pool for a"
            " module with a setup of your own"
        )
        raise TypeError(message)
    known = {*PluginOptions.__annotations__, *others}
    if unknown := [repr(option) for option in options if option not in known]:
        message = f"{call} has no option {', '.join(unknown)}; it has: {', '.join(sorted(known))}"
        raise TypeError(message)
    checked = options.copy()
    cache = checked.get("cache")
    if cache is not None:  # the process may change its directory before the next load
        checked["cache"] = _absolute(cache)
    if "instruments" in checked:
        checked["instruments"] = tuple(checked["instruments"])
    _check_pristine(checked)
    new_environment(checked)
    Options(**pool_options(checked))
    return checked


def _check_pristine(options: PluginOptions) -> None:
    pristine = options.get("pristine", False)
    if not isinstance(pristine, bool):
        message = f"pristine must be True or False, not {pristine!r}"
        raise TypeError(message)
    uses = options.get("max_uses")
    if pristine and uses not in (None, 1):
        message = f"max_uses={uses!r} and pristine=True: an instance of a pristine plugin has one"
        raise ValueError(message)


def _absolute(cache: object) -> Path:
    if not isinstance(cache, (str, os.PathLike)):
        message = f"cache must be the path of a directory or None, not {cache!r}"
        raise TypeError(message)
    return Path(cache).absolute()


def pool_options(options: PluginOptions) -> dict[str, Any]:
    """Return the options for the plugin's pool."""
    given = {key: value for key, value in options.items() if key not in _OTHER_OPTIONS}
    if options.get("pristine"):
        given["max_uses"] = 1
    return {**_POOL_DEFAULTS, **given}


def new_environment(options: PluginOptions) -> PluginEnvironment:
    """Return an environment for a plugin with these options.

    Raises:
        TypeError: ``http`` or ``limits`` is of the wrong type.
    """
    policy = options.get("http")
    if not isinstance(policy, HttpPolicy | None):
        message = f"http must be an HttpPolicy, not {policy!r}: leave it out to reach no host"
        raise TypeError(message)
    limits = options.get("limits", Limits())
    if not isinstance(limits, Limits):
        message = f"limits must be Limits, not {limits!r}"
        raise TypeError(message)
    return PluginEnvironment(policy, limits, options.get("wasi"), options.get("cache"))


def check_name(name: object) -> None:
    """Refuse what cannot be the name of a plugin in messages, in logs and as a key.

    Raises:
        TypeError, ValueError: it is not a str; it is blank; it has control characters, or others
            that a log line cannot contain.
    """
    if name is None:
        return
    if not isinstance(name, str):
        message = f"name must be a str or None, not {name!r}"
        raise TypeError(message)
    if not name.strip():
        message = f"name must not be blank, as {name!r} is: leave it out for the plugin's own name"
        raise ValueError(message)
    if escaped(name) != name:
        message = f"name must have no control characters, line breaks or marks, not {name!r}"
        raise ValueError(message)


def check_digest(sha256: object) -> None:
    """Refuse what cannot be the SHA-256 of a file.

    Raises:
        TypeError, ValueError: it is not 64 hexadecimal digits.
    """
    if not isinstance(sha256, str | None):
        message = f"sha256 must be a str or None, not {sha256!r}"
        raise TypeError(message)
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        message = f"sha256 must have 64 hexadecimal digits, not be {sha256!r}"
        raise ValueError(message)


def copy_credentials(credentials: object) -> Mapping[str, str] | None:
    """Copy credentials, which the caller may change later, and check that a guest can read them.

    Raises:
        TypeError, ValueError: the message names the credential and never shows its value.
    """
    if credentials is None:
        return None
    if not isinstance(credentials, Mapping):
        message = f"credentials must be a mapping of strings, not {type(credentials).__name__}"
        raise TypeError(message)
    copied = dict(credentials)
    for key, value in copied.items():
        if not isinstance(key, str):
            message = f"credentials: the name {key!r} must be a string, not {type(key).__name__}"
            raise TypeError(message)
        if not isinstance(value, str):
            given = type(value).__name__
            message = f"credentials: the value of {key!r} must be a string, not {given}"
            raise TypeError(message)
        if not (_is_unicode(key) and _is_unicode(value)):
            part = "value" if _is_unicode(key) else "name"
            message = f"credentials: the {part} of {key!r} cannot be written as UTF-8"
            raise ValueError(message)
    return copied


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
