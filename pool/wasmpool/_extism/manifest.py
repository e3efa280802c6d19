"""The manifest of an Extism plugin: what it is made of, and what it asks for.

The contract is ``manifest/schema.json`` of Extism, version 1.12. A member that is not known is
refused by name, and so is what this host does not serve.
"""

from __future__ import annotations

import base64
import binascii
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, final

import attrs

from wasmpool_host.lowlevel import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_VAR_BYTES", "PAGE", "Manifest", "WasmEntry", "is_unicode", "read_manifest"]

PAGE: Final = 1 << 16
"""Bytes of a page of WebAssembly."""

MAX_VAR_BYTES: Final = 1 << 20
"""Extism's default for the variables of a plugin."""
_MOST_PAGES: Final = 1 << 16
_MOST_HOSTS: Final = 1_000
"""Patterns of hosts: each request is compared with all."""
_LONGEST_HOST: Final = 253
"""Characters of a pattern: a name has no more."""

_MAIN: Final = "main"
_MOST_MODULES: Final = 16
"""Each instance of the plugin has an instance of each module."""

_MEMBERS: Final = ("wasm", "memory", "config", "allowed_hosts", "allowed_paths", "timeout_ms")
_MEMORY: Final = ("max_pages", "max_http_response_bytes", "max_var_bytes")
_ENTRY: Final = ("path", "data", "hash", "name")
_FROM_URL: Final = ("url", "headers", "method")


@final
@attrs.frozen(kw_only=True)
class WasmEntry:
    """Where a module of a manifest is; exactly one of ``path`` and ``data`` is set."""

    path: str | None = None
    data: bytes | None = attrs.field(default=None, repr=False)
    sha256: str | None = None
    """In hexadecimal; the module must have it."""
    name: str | None = None


@final
@attrs.frozen(kw_only=True)
class Manifest:
    """A manifest that was read: what it says is valid, and can no longer be changed."""

    wasm: WasmEntry
    """The main module: its exports are called."""
    libraries: Mapping[str, WasmEntry] = attrs.field(factory=dict[str, WasmEntry])
    """The modules that it is linked to, by name."""
    max_pages: int | None = None
    max_http_response_bytes: int | None = None
    max_var_bytes: int = MAX_VAR_BYTES
    """0: the plugin has no variables."""
    config: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    allowed_hosts: tuple[str, ...] = ()
    """Patterns; none is no host."""
    allowed_paths: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Directories of the host, to where they are in the guest."""
    timeout: float | None = None
    """Seconds for one call."""


def read_manifest(given: Mapping[str, Any]) -> Manifest:
    """Read a manifest.

    Raises:
        ValueError: the message names the member that is wrong, unknown or not served.
    """
    _check_known("the manifest", given, _MEMBERS)
    memory = _object(given, "memory")
    _check_known("memory", memory, _MEMORY)
    timeout = _count(given, "timeout_ms", 1, None)
    var_bytes = _count(memory, "max_var_bytes", 0, None)
    entries = _entries(given)
    return Manifest(
        wasm=entries.pop(_MAIN),
        libraries=entries,
        max_pages=_count(memory, "max_pages", 1, _MOST_PAGES),
        max_http_response_bytes=_count(memory, "max_http_response_bytes", 1, None),
        max_var_bytes=MAX_VAR_BYTES if var_bytes is None else var_bytes,
        config=_strings(given, "config"),
        allowed_hosts=_hosts(given),
        allowed_paths=_strings(given, "allowed_paths"),
        timeout=None if timeout is None else timeout / 1000,
    )


def _invalid(what: str, wanted: str, found: object) -> ValueError:
    return ValueError(f"{what} must be {wanted}, not {shown(found)}")


def _check_known(where: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in given:
        if key not in known:
            message = f"{where} has a member {shown(key)}, which is none of {', '.join(known)}"
            raise ValueError(message)


def _entries(given: Mapping[str, Any]) -> dict[str, WasmEntry]:
    """Read the modules by name; the last is the main one, as in Extism."""
    entries = given.get("wasm")
    if not isinstance(entries, (list, tuple)) or len(entries) < 1:
        raise _invalid("the manifest's wasm", "a list of modules", entries)
    if len(entries) > _MOST_MODULES:
        message = f"the manifest's wasm has {len(entries):,} modules, above {_MOST_MODULES}"
        raise ValueError(message)
    read = [_read_entry(entry) for entry in entries]
    if len(read) == 1:
        return {_MAIN: read[0]}
    named: dict[str, WasmEntry] = {}
    for k, entry in enumerate(read):
        last = k == len(read) - 1 and _MAIN not in named
        name = _MAIN if last else entry.name or _MAIN
        if name in named:
            message = f"the manifest's wasm has two modules that are named {shown(name)}"
            raise ValueError(message)
        named[name] = entry
    return {**{name: each for name, each in named.items() if name != _MAIN}, _MAIN: named[_MAIN]}


def _read_entry(entry: object) -> WasmEntry:
    if not isinstance(entry, Mapping):
        raise _invalid("a module of the manifest's wasm", "an object", entry)
    if "url" in entry:
        message = (
            f"the manifest's wasm has the url {shown(entry['url'])}: this host fetches no modules;"
            " fetch it before, and give its path or its data"
        )
        raise ValueError(message)
    _check_known("a module of the manifest's wasm", entry, _ENTRY)
    path, data = entry.get("path"), entry.get("data")
    if (path is None) == (data is None):
        message = "a module of the manifest's wasm must have either path or data"
        raise ValueError(message)
    return WasmEntry(
        path=None if path is None else _path(path),
        data=None if data is None else _data(data),
        sha256=_digest(entry.get("hash")),
        name=_text("name", entry.get("name")),
    )


def _path(path: object) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise _invalid("the path of a module", "a string", path)
    return os.path.abspath(os.fspath(path))  # noqa: PTH100 - the process may change its directory


def _data(data: object) -> bytes:
    if isinstance(data, (bytes, bytearray)):
        return bytes(data)
    if not isinstance(data, str):
        raise _invalid("the data of a module", "base64", data)
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as wrong:
        message = f"the data of a module is no base64: {wrong}"
        raise ValueError(message) from None


def _digest(digest: object) -> str | None:
    if digest is None:
        return None
    text = digest.lower() if isinstance(digest, str) else ""
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        message = f"the hash of a module must have 64 hexadecimal digits, not be {shown(digest)}"
        raise ValueError(message)
    return text


def _text(key: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _invalid(f"the {key} of a module", "a string", value)
    return value


def _object(given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = given.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _invalid(f"the manifest's {key}", "an object", value)
    return value


def _strings(given: Mapping[str, Any], key: str) -> Mapping[str, str]:
    found = _object(given, key)
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise _invalid(f"the manifest's {key}", "strings by name", name)
        if not (is_unicode(name) and is_unicode(value)):
            message = f"the manifest's {key}: {shown(name)} or its value has no form in UTF-8"
            raise ValueError(message)
    return dict(found)


def is_unicode(text: str) -> bool:
    """Return True if a text can be written as UTF-8: it has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _count(given: Mapping[str, Any], key: str, least: int, most: int | None) -> int | None:
    value = given.get(key)
    if value is None:
        return None
    top = math.inf if most is None else most
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= top:
        bound = f"from {least}" if most is None else f"from {least} to {most:,}"
        raise _invalid(f"the manifest's {key}", f"a number {bound}", value)
    return value


def _hosts(given: Mapping[str, Any]) -> tuple[str, ...]:
    hosts = given.get("allowed_hosts")
    if hosts is None:
        return ()
    if not isinstance(hosts, (list, tuple)) or not all(isinstance(h, str) for h in hosts):
        raise _invalid("the manifest's allowed_hosts", "a list of strings", hosts)
    if len(hosts) > _MOST_HOSTS or any(len(host) > _LONGEST_HOST for host in hosts):
        message = (
            f"the manifest's allowed_hosts must be at most {_MOST_HOSTS:,} patterns of at most"
            f" {_LONGEST_HOST} characters"
        )
        raise ValueError(message)
    return tuple(hosts)
