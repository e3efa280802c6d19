"""What a guest can access outside of its memory: nothing, unless `Wasi` grants it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

import attrs

from .directory_identity import DirectoryIdentity, identify
from .mounts import may_wait

__all__ = ["Preopen", "Sink", "Wasi", "as_bytes"]

Sink: TypeAlias = Literal["log"] | Callable[[bytes], object] | None
"""The target of a guest's output: `logging`, a function that takes bytes, or none."""

StrPath: TypeAlias = str | os.PathLike[str]

_GIB = 2**30
_MAX_FILE_SIZE = 2**63 - 1  # the largest file offset


def _directory(path: StrPath) -> str:
    if not isinstance(path, str | os.PathLike):
        message = f"Preopen(path) must be the path of a directory, not {path!r}"
        raise TypeError(message)
    # Absolute from here on: the process may change its directory before an instance opens it.
    return str(Path(path).absolute())


def _identify(preopen: Preopen) -> DirectoryIdentity:
    try:
        return identify(preopen.path)
    except (OSError, ValueError) as error:  # ValueError for a NUL
        why = getattr(error, "strerror", None) or error
        message = f"Preopen(path): {preopen.path!r} is no directory that can be opened: {why}"
        raise ValueError(message) from error


def _check_max_file_size(_instance: object, _attribute: object, value: int) -> None:
    if type(value) is not int or not 0 <= value <= _MAX_FILE_SIZE:
        message = f"Preopen(max_file_size) must be a number of bytes from 0, not {value!r}"
        raise ValueError(message)


@attrs.frozen
class Preopen:
    """A directory of the host that a guest may use, with everything in it.

    The guest cannot leave it: not through ``..``, an absolute path or a symbolic link, and not by
    renaming entries while a path is resolved. It can open only regular files and directories, never
    a device, a pipe or a socket.

    The directory is identified when the `Preopen` is created; links in its path are followed. Each
    instance opens it at its first WASI call, and keeps this descriptor until it is closed. If
    another directory, or a link, is at the path by then, the call raises `OSError` (``ESTALE``).

    Files of local file systems are used on the trio thread. If the directory is on another file
    system (a network's, FUSE), or one is mounted beneath it when the `Preopen` is created, each
    operation runs in a worker thread: a server that does not answer delays only its own guests. A
    cancel does not wait for it. While 32 cancelled operations on a device still block, further ones
    fail with ``EAGAIN`` at once, and the logger ``wasmpool.blocking`` reports it.

    A read-only directory beneath a writable one is not protected: the guest can reach it through
    the writable one.

    With a writable directory the guest can fill the disk: use a file system with a quota if this
    matters. Trust the files there as little as the guest, and be careful with links (a guest can
    create relative ones) when other programs read them.

    Args:
        path: the directory, which must exist. It is made absolute at once.
        writable: allow the guest to create, change, rename and remove. Without it each attempt
            fails with ``EROFS``.
        max_file_size: bytes. An operation that would make a file longer, or write beyond this
            offset, fails with ``EFBIG``. Otherwise a single call could create a sparse file of any
            length.
    """

    path: str = attrs.field(converter=_directory)
    writable: bool = attrs.field(
        default=False, kw_only=True, validator=attrs.validators.instance_of(bool)
    )
    max_file_size: int = attrs.field(default=_GIB, kw_only=True, validator=_check_max_file_size)
    identity: DirectoryIdentity = attrs.field(
        init=False, repr=False, default=attrs.Factory(_identify, takes_self=True)
    )
    """Which directory it is. Part of equality: a directory that was replaced is another one."""
    may_wait: bool = attrs.field(
        init=False,
        repr=False,
        eq=False,
        default=attrs.Factory(lambda self: may_wait(self.identity.real_path), takes_self=True),
    )
    """True if it is on a file system that is not local, or has one mounted beneath it."""


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


def _check_mapping(option: str, value: object) -> None:
    if not isinstance(value, Mapping):
        message = f"Wasi({option}) must be a mapping, not {value!r}"
        raise TypeError(message)


def as_bytes(text: str) -> bytes:
    """A text as the guest gets it: in UTF-8."""
    return text.encode()


def _items(mapping: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    # The order matters: the guest sees it in its environment and in its descriptors' numbers.
    return tuple(mapping.items())


def _check_text(option: str, value: object) -> None:
    if not isinstance(value, str):
        message = f"Wasi({option}) must be a string, not {value!r}"
        raise TypeError(message)
    if "\0" in value:
        message = f"Wasi({option}) has a NUL, which ends a string in the guest: {value!r}"
        raise ValueError(message)
    try:
        as_bytes(value)
    except UnicodeEncodeError as error:
        message = f"Wasi({option}) has no form in UTF-8: {value!r}"
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
    """What one module's instances get of WASI preview 1. By default they can access nothing.

    If two are equal, a guest sees no difference between them, and a pool reload from one to the
    other does nothing. Functions are compared with ``==``.

    Args:
        args: the guest's arguments; by convention the first is the program's name.
        env: its environment, in this order.
        stdin: what it can read from descriptor 0; each instance reads it from the start.
        stdout: ``"log"`` sends the output to the logger ``wasmpool.guest.stdout`` at level info,
            line by line, at most 8 KiB per record (a longer line becomes several records), with
            control characters and invalid UTF-8 escaped. An incomplete line is logged when the call
            ends, or the lease if there is one, in the context of its caller. A function gets the
            bytes as the guest writes them, at most 1 MiB at a time, on the trio thread, and must
            return quickly. If it raises `OSError`, the guest gets the error number; any other
            exception ends the call. None discards the output.
        stderr: the same, with the logger ``wasmpool.guest.stderr`` at level warning, so that a
            guest's last messages are visible even if logging is not configured.
        preopens: a mapping of guest paths to a `Preopen`, or to a plain path, which is read-only.

    Raises:
        TypeError: a value has the wrong type; the message names it.
        ValueError: a text cannot be passed to a guest, or a directory does not exist.
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
