"""Where an Extism plugin comes from: a module or a manifest, in a file or in memory."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import attrs

from wasmpool._plugin.errors import DigestError
from wasmpool._plugin.source import name_of_file, stem
from wasmpool_host.lowlevel import BlockingCalls, Source

from .manifest import Manifest, WasmEntry, read_manifest
from .recognise import MANIFESTS, is_manifest

__all__ = [
    "ExtismSource",
    "FrozenSource",
    "ReadSource",
    "freeze_source",
    "read_source",
]

ExtismSource: TypeAlias = str | os.PathLike[str] | bytes | Mapping[str, Any] | Source
"""A module or a manifest: the path of a file with either, its content, or a manifest as a mapping.
A str that contains ``(module`` is the text of a module; one that begins with ``{`` is a manifest in
JSON. A `Source` is a file that has been read: if it is a module, it has no manifest, and the policy
alone decides which hosts it can reach."""

FrozenSource: TypeAlias = Manifest | Path | Source
"""A manifest that was read, a file that has yet to be read, or one that has been."""

_MOST: Final = 64 << 20
"""Bytes of a manifest in a file: a module may be in it, in base64."""
_MAGIC: Final = b"\0asm"
_ANY_HOST: Final = ("*",)

_reading: Final = BlockingCalls("readings of Extism plugins", limit=4, max_abandoned=8)


def freeze_source(source: ExtismSource) -> FrozenSource:
    """Return a source in a form that the caller can no longer change; read what is no file.

    Raises:
        TypeError: it is none.
        ValueError: it is a manifest that is not valid, or asks for what is not served.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, Mapping):
        return read_manifest(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_content(bytes(source))
    if isinstance(source, str) and ("(module" in source or source.lstrip().startswith("{")):
        return _from_content(source.encode())
    if isinstance(source, (str, os.PathLike)):
        return Path(source).absolute()
    message = (
        "open_extism takes the path or the bytes of a module or a manifest, or a mapping, not"
        f" {type(source).__name__}"
    )
    raise TypeError(message)


@final
@attrs.frozen
class ReadSource:
    """A plugin that was read to its end."""

    manifest: Manifest
    main: Source
    libraries: Mapping[str, Source]


async def read_source(frozen: FrozenSource, name: str | None) -> ReadSource:
    """Read a source to its end: the manifest, and its modules.

    Args:
        frozen: what `freeze_source` returned.
        name: the plugin's, for an error.

    Raises:
        CompileError: a module's file is larger than 256 MiB.
        ValueError: the file has a manifest that is not valid.
        DigestError: a module has another digest than its manifest says.
        OSError: a file cannot be read.

    A cancel returns at once; a thread that reads is abandoned.
    """
    return await _reading.run(_read, frozen, name)


def _read(frozen: FrozenSource, name: str | None) -> ReadSource:
    if isinstance(frozen, Source) and not is_manifest(frozen):
        entry = WasmEntry(path=None if frozen.path is None else str(frozen.path))
        return ReadSource(Manifest(wasm=entry, allowed_hosts=_ANY_HOST), frozen, {})
    manifest = frozen if isinstance(frozen, Manifest) else _from_file(frozen)
    libraries = {key: _read_module(entry, key) for key, entry in manifest.libraries.items()}
    return ReadSource(manifest, _read_module(manifest.wasm, name), libraries)


def _read_module(entry: WasmEntry, name: str | None) -> Source:
    if entry.path is not None:
        source = Source.read(Path(entry.path))
    else:
        assert entry.data is not None  # one of the two is set
        source = Source.read(_module_of(entry.data))
    if entry.sha256 is not None and source.digest != entry.sha256:
        label = name or entry.name or stem(source)
        raise DigestError(label, name_of_file(source), source.digest, entry.sha256)
    return source


def _from_file(file: Path | Source) -> Manifest:
    if isinstance(file, Source):
        assert file.path is not None  # else it is no manifest
        path, content = file.path, file.binary
    else:
        path = file
        if path.suffix not in MANIFESTS:
            return Manifest(wasm=WasmEntry(path=str(path)))
        content = _read_regular(path)
    if len(content) > _MOST:
        message = f"{str(path)!r} has more than {_MOST:,} bytes, which no manifest may have"
        raise ValueError(message)
    try:
        return read_manifest(_parsed(content))
    except ValueError as wrong:
        message = f"{str(path)!r}: {wrong}"
        raise ValueError(message) from wrong


def _read_regular(path: Path) -> bytes:
    """Read a file, of which at most `_MOST` bytes and one are returned."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would block
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        with open(fd, "rb", closefd=False) as file:
            return file.read(_MOST + 1)
    finally:
        os.close(fd)


def _from_content(content: bytes) -> Manifest:
    """Read what was given as bytes or as a str."""
    if content.startswith(_MAGIC) or _is_text(content):
        return Manifest(wasm=WasmEntry(data=content))
    return read_manifest(_parsed(content))


def _parsed(content: bytes) -> Mapping[str, Any]:
    """Parse a manifest: JSON, or TOML."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError("it is neither a module nor a manifest, as it is no UTF-8") from None
    if not text.lstrip().startswith("{"):
        import tomllib  # noqa: PLC0415 - few manifests are TOML

        try:
            return tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as wrong:
            message = f"the manifest is neither JSON nor TOML: {wrong}"
            raise ValueError(message) from None
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as wrong:
        message = f"the manifest is no JSON: {wrong}"
        raise ValueError(message) from None
    assert isinstance(parsed, dict)  # it begins with a brace
    return parsed


def _is_text(content: bytes) -> bool:
    """Return True for a module in the text format."""
    start = content[:64].lstrip()
    if start.startswith((b";;", b"(;")):
        return True
    return start.startswith(b"(") and start[1:].lstrip().startswith(b"module")


def _module_of(data: bytes) -> bytes | str:
    """Return a module as `Source.read` takes it."""
    if not _is_text(data):
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ValueError("the text of the module is no UTF-8") from None
