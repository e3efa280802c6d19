"""What a guest is given of the world outside: nothing, unless it says so here."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

import attrs

from .fixed import Fixed, fix
from .mounts import may_wait

__all__ = ["Preopen", "Sink", "Wasi", "as_bytes"]

Sink: TypeAlias = Literal["log"] | Callable[[bytes], object] | None
"""Where a guest's output goes: to `logging`, to a function that takes bytes, or nowhere."""

StrPath: TypeAlias = str | os.PathLike[str]

_GIB = 2**30
_MAX_FILE_SIZE = 2**63 - 1  # what a file offset can say


def _directory(path: StrPath) -> str:
    if not isinstance(path, str | os.PathLike):
        message = f"Preopen(path) must be the path of a directory, not {path!r}"
        raise TypeError(message)
    # Absolute from here on: the process may change its directory before an instance opens it.
    return str(Path(path).absolute())


def _fix(preopen: Preopen) -> Fixed:
    try:
        return fix(preopen.path)
    except (OSError, ValueError) as error:  # the latter for a NUL
        why = getattr(error, "strerror", None) or error
        message = f"Preopen(path): {preopen.path!r} is no directory that can be opened: {why}"
        raise ValueError(message) from error


def _check_max_file_size(_instance: object, _attribute: object, value: int) -> None:
    if type(value) is not int or not 0 <= value <= _MAX_FILE_SIZE:
        message = f"Preopen(max_file_size) must be a number of bytes from 0, not {value!r}"
        raise ValueError(message)


@attrs.frozen
class Preopen:
    """A directory of the host that a guest may use, with all that is in it.

    The guest cannot leave it: not by ``..``, not by an absolute path, not by a symbolic link, and
    not by renaming things while they are looked up. It can open regular files and directories
    only, never a device, a pipe or a socket.

    Which directory that is is decided now, links in its path followed. Each instance opens it anew,
    at its first WASI call, and holds that descriptor to its end. If another directory, or a link,
    is at its path by then, that call raises an `OSError` (``ESTALE``), whatever put it there.

    Files of local file systems are used at once, on the trio thread. If the directory lies on
    another (of a network, of FUSE), or one is mounted beneath it when the `Preopen` is made, each
    operation takes a thread: a server that is silent holds up its own guests only. A cancel does
    not wait for it. If 32 operations on a device were cancelled and still wait, further ones end as
    ``EAGAIN`` at once, and a line in the logger ``wasmpool.blocking`` says so.

    It is all one directory: one that is read-only is of no use beneath another that is writable, as
    the guest can get at it by way of that one.

    A writable directory lets the guest fill the disk that holds it, as it would any program: give
    it a file system with a quota if that matters. What a guest leaves there is as trustworthy as
    the guest: mind links (it can make relative ones only) when other programs read it.

    Args:
        path: the directory; it must exist. Made absolute at once.
        writable: whether the guest may create, change, rename and remove. Without it each attempt
            ends as ``EROFS``.
        max_file_size: bytes; what would make a file longer, or write beyond, ends as ``EFBIG``.
            One call could otherwise make a file of any length, sparse as it may be.
    """

    path: str = attrs.field(converter=_directory)
    writable: bool = attrs.field(
        default=False, kw_only=True, validator=attrs.validators.instance_of(bool)
    )
    max_file_size: int = attrs.field(default=_GIB, kw_only=True, validator=_check_max_file_size)
    fixed: Fixed = attrs.field(init=False, repr=False, default=attrs.Factory(_fix, takes_self=True))
    """Which directory it is. Counts for equality: one that was replaced is another one."""
    may_wait: bool = attrs.field(
        init=False,
        repr=False,
        eq=False,
        default=attrs.Factory(lambda self: may_wait(self.fixed.real), takes_self=True),
    )
    """Whether it lies on, or has beneath it, what is no local file system."""


def _freeze_args(args: Iterable[str]) -> tuple[str, ...]:
    if isinstance(args, str | bytes) or not isinstance(args, Iterable):
        message = f"Wasi(args) must be a sequence of strings, not {args!r}"
        raise TypeError(message)
    return tuple(args)


def _freeze_env(env: Mapping[str, str]) -> Mapping[str, str]:
    _check_mapping("env", env)
    return MappingProxyType(dict(env))


def _freeze_preopens(preopens: Mapping[str, Preopen | StrPath]) -> Mapping[str, Preopen]:
    _check_mapping("preopens", preopens)
    return MappingProxyType(
        {
            guest: host if isinstance(host, Preopen) else Preopen(host)
            for guest, host in preopens.items()
        }
    )


def _check_mapping(knob: str, value: object) -> None:
    if not isinstance(value, Mapping):
        message = f"Wasi({knob}) must be a mapping, not {value!r}"
        raise TypeError(message)


def as_bytes(text: str) -> bytes:
    """What the guest gets of a text: UTF-8, as it is."""
    return text.encode()


def _items(mapping: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    # The order counts: the guest sees it, in its environment and in its descriptors' numbers.
    return tuple(mapping.items())


def _check_text(knob: str, value: object) -> None:
    if not isinstance(value, str):
        message = f"Wasi({knob}) must be a string, not {value!r}"
        raise TypeError(message)
    if "\0" in value:
        message = f"Wasi({knob}) has a NUL, which ends a string in the guest: {value!r}"
        raise ValueError(message)
    try:
        as_bytes(value)
    except UnicodeEncodeError as error:
        message = f"Wasi({knob}) has no form in UTF-8: {value!r}"
        raise ValueError(message) from error


def _check_args(_instance: object, _attribute: object, value: tuple[str, ...]) -> None:
    for position, arg in enumerate(value):
        _check_text(f"args[{position}]", arg)


def _check_env(_instance: object, _attribute: object, value: Mapping[str, str]) -> None:
    for name, text in value.items():
        _check_text("env", name)
        if not name or "=" in name:
            message = f"Wasi(env) has a name that is empty or has a '=': {name!r}"
            raise ValueError(message)
        _check_text(f"env[{name!r}]", text)


def _check_stdin(_instance: object, _attribute: object, value: object) -> None:
    if not isinstance(value, bytes):
        message = f"Wasi(stdin) must be bytes, not {value!r}"
        raise TypeError(message)


def _check_preopens(_instance: object, _attribute: object, value: Mapping[str, Preopen]) -> None:
    for guest in value:
        _check_text("preopens", guest)
        if not guest:
            message = "Wasi(preopens) has an empty guest path"
            raise ValueError(message)


def _check_sink(_instance: object, attribute: attrs.Attribute[Sink], value: object) -> None:
    if value is None or value == "log":
        return
    if not callable(value):
        message = (
            f'Wasi({attribute.name}) must be "log", a function of bytes or None, not {value!r}'
        )
        raise TypeError(message)
    if inspect.iscoroutinefunction(value):
        message = f"Wasi({attribute.name}) must be a plain function, not the async {value!r}"
        raise TypeError(message)


@attrs.frozen(kw_only=True)
class Wasi:
    """What one module's instances get of WASI preview 1. Everything is shut by default.

    Two that are equal give a guest the same world, so a reload between them is no reload; functions
    are compared as Python compares them.

    Args:
        args: the guest's arguments; the first is by custom its own name.
        env: its environment, in this order.
        stdin: what it can read from descriptor 0; each instance reads it from the start.
        stdout: ``"log"`` sends it to the logger ``wasmpool.guest.stdout`` at level info, line by
            line, each line at most 8 KiB (a longer one becomes several records), with control
            characters and what is not UTF-8 escaped. A line without an end is logged when the call
            ends, or the lease if there is one, in the context of its caller. A function gets the
            bytes as the guest writes them, at most 1 MiB at a time, on the trio thread: let it
            return at once. An `OSError` that it raises is the guest's error; any other exception
            ends the call. None drops it.
        stderr: the same, with the logger ``wasmpool.guest.stderr`` at level warning, so that a
            guest's last words are seen even where logging is not set up.
        preopens: guest path to `Preopen`, or to a plain path, which means read-only.

    Raises:
        TypeError: a value of the wrong type; the message names it.
        ValueError: a text that cannot be given to a guest, or a directory that is not there.
    """

    args: tuple[str, ...] = attrs.field(default=(), converter=_freeze_args, validator=_check_args)
    env: Mapping[str, str] = attrs.field(
        factory=dict[str, str], converter=_freeze_env, validator=_check_env, eq=_items
    )
    stdin: bytes = attrs.field(default=b"", validator=_check_stdin)
    stdout: Sink = attrs.field(default="log", validator=_check_sink)
    stderr: Sink = attrs.field(default="log", validator=_check_sink)
    preopens: Mapping[str, Preopen] = attrs.field(
        factory=dict[str, Preopen], converter=_freeze_preopens, validator=_check_preopens, eq=_items
    )
