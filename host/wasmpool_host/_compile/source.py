"""What a module is compiled from: bytes, text, or a file with either."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Final, final

from wasmpool_host import _capi
from wasmpool_host._errors import CompileError
from wasmpool_host._escape import escaped
from wasmpool_host._regular_file import open_regular, read_at_most

from .binary import Outline, outline, with_memories_exported
from .compiler import MAGIC

__all__ = ["FILE_MOST", "Source", "memory_exports"]

FILE_MOST: Final = 256 << 20
"""Bytes of a file that a module is read from: ten times as many as the largest in use have."""

_MODULE: Final = MAGIC + b"\1\0\0\0"
_COMPONENT: Final = MAGIC + b"\x0d\0\1\0"
"""The beginning of a component, which has another version."""

_HIDDEN_MEMORY: Final = "wasmpool:memory"
"""The export of a memory that only the compiled code exports, for its size to be counted. A second
one has an underscore more."""


@final
class Source:
    """A module's bytes, and how messages name it.

    Attributes:
        binary: the module in the binary format; not known to be valid.
        path: the file that it was read from; None for bytes and text.
        name: the file's stem, or that of the module that it was derived from, or None.
        digest: the SHA-256 of ``binary``, in hexadecimal.
        outline: the imports and exports; None if they cannot be read.
        code: what is compiled: ``binary``, or a copy in which all its memories are exported.
        code_digest: the SHA-256 of ``code``.
        label: names the source in messages.
    """

    def __init__(
        self, binary: bytes, path: Path | None = None, *, derived_from: str | None = None
    ) -> None:
        """``derived_from``: the name of the module that the bytes were made of by this package."""
        self.binary: bytes = binary
        self.path: Path | None = path
        self.name: str | None = derived_from if path is None else path.stem
        self.digest: str = hashlib.sha256(binary).hexdigest()
        self.outline: Outline | None = _outline_of(binary)
        self.code: bytes = _with_countable_memories(binary, self.outline)
        same = self.code is binary
        self.code_digest: str = self.digest if same else hashlib.sha256(self.code).hexdigest()
        self.label: str = _label(binary, path, derived_from)

    @property
    def is_component(self) -> bool:
        """True for the bytes of a component, and False for those of a module or of neither."""
        return self.binary.startswith(_COMPONENT)

    @classmethod
    def read(cls, source: Any) -> Source:
        """Read what `Module.compile` was given. It may block, for a file.

        Raises:
            CompileError: text is no module in the text format, or a file is too large.
            OSError: a file cannot be read, or is no regular file.
            TypeError: it is neither bytes, nor a str, nor a path, nor a `Source`.
        """
        if isinstance(source, Source):
            return source
        if isinstance(source, str):
            return cls(_assemble(_encoded(source), "the text"))
        if isinstance(source, (bytes, bytearray, memoryview)):
            return cls(bytes(source))
        if isinstance(source, os.PathLike):
            return cls._read_file(Path(source))
        message = f"a module's source is bytes, text as a str, or a path; not {source!r}"
        raise TypeError(message)

    @classmethod
    def _read_file(cls, path: Path) -> Source:
        with open_regular(str(path)) as (fd, status):
            content = read_at_most(fd, FILE_MOST) if status.st_size <= FILE_MOST else None
        if content is None:
            message = (
                f"{escaped(str(path))} has more than {FILE_MOST:,} bytes, which no module may have"
            )
            raise CompileError(message)
        return cls.of_file(content, path)

    @classmethod
    def of_file(cls, content: bytes, file: str | os.PathLike[str]) -> Source:
        """Take the content of a file; that of one that ends with ``.wat`` is text.

        Raises:
            CompileError: the text is no module in the text format.
        """
        path = Path(file)
        if path.suffix == ".wat":
            shown_path = escaped(str(path))
            _check_utf_8(content, shown_path)
            content = _assemble(content, shown_path)
        return cls(content, path)


def memory_exports(outline: Outline) -> tuple[str, ...]:
    """The names by which a module's compiled code exports its memories, one for each."""
    taken = set(outline.exports)
    names = []
    for exported in outline.memory_names:
        name = _HIDDEN_MEMORY if exported is None else exported
        while exported is None and name in taken:
            name += "_"
        taken.add(name)
        names.append(name)
    return tuple(names)


def _label(binary: bytes, path: Path | None, derived_from: str | None) -> str:
    if path is not None:
        return f"file {str(path)!r}"
    if derived_from is not None:
        return f"the snapshot of module {derived_from!r}"
    what = (
        "module" if binary[:8] in (MAGIC, _MODULE) or not binary.startswith(MAGIC) else "component"
    )
    return f"the {what} of {len(binary):,} bytes"


def _outline_of(binary: bytes) -> Outline | None:
    """None for an invalid module or a component; the compiler says why it is refused."""
    if not binary.startswith(_MODULE):
        return None
    try:
        return outline(binary)
    except Exception:  # noqa: BLE001 - invalid bytes may mislead the reader to any error
        return None


def _with_countable_memories(binary: bytes, outline: Outline | None) -> bytes:
    """The binary with all its memories exported, for a pool's ``max_memory`` to see their sizes.

    The C API has no other way to reach a memory.
    """
    if outline is None or None not in outline.memory_names:
        return binary
    names = memory_exports(outline)
    hidden = {k: names[k] for k, exported in enumerate(outline.memory_names) if exported is None}
    return with_memories_exported(binary, hidden)


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        message = (
            "the text is no module in the text format: it has no form in UTF-8, as character"
            f" {error.start:,} is {half!r}"
        )
        raise CompileError(message) from error


def _check_utf_8(text: bytes, path: str) -> None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        message = (
            f"{path} is no module in the text format: it is no UTF-8, as byte {error.start:,} is"
            f" 0x{text[error.start]:02x}"
        )
        raise CompileError(message) from error


def _assemble(text: bytes, what: str) -> bytes:
    """Assemble a module's text; what is not UTF-8 was refused before."""
    try:
        return _capi.text_to_binary(text)
    except _capi.CApiError as error:
        hint = "" if b"(" in text else " (a str is a module's text: give a pathlib.Path for a file)"
        reason = "\n".join(map(escaped, str(error).splitlines()))
        message = f"{what} is no module in the text format{hint}: {reason}"
        raise CompileError(message) from None
