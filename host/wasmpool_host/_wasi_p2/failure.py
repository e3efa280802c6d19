"""How a function of preview 2 fails, and what the component gets for it."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from wasmpool_host._errors import GuestTrap
from wasmpool_host._wasi.errno import Errno, WasiError, errno_of
from wasmpool_host._wit_values import Variant

from .resource import Resource

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CODES",
    "Failure",
    "IoError",
    "StreamClosed",
    "Unsuccessful",
    "broken_contract",
    "check_class",
    "error_code",
    "failed",
]


class StreamClosed(Exception):
    """The stream has ended: a result for the guest, never raised to a caller."""


class Unsuccessful(Exception):
    """A function fails with ``value``: a result for the guest, never raised to a caller."""

    def __init__(self, value: Any = None) -> None:
        super().__init__(value)
        self.value: Any = value


class Failure(Enum):
    """What stands in the place of the error in a function's result."""

    NONE = auto()
    """The function has no result that can be an error."""
    CODE = auto()
    """``error-code`` of ``wasi:filesystem/types``."""
    STREAM = auto()
    """``stream-error`` of ``wasi:io/streams``."""
    VALUE = auto()
    """What `Unsuccessful` has."""


class IoError(Resource):
    """``error`` of ``wasi:io/error``: why a stream has failed."""

    __slots__ = ("code", "http", "text")

    def __init__(self, text: str, *, code: str | None = None, http: Variant | None = None) -> None:
        self.text: str = text
        self.code: str | None = code
        """As ``error-code`` of ``wasi:filesystem/types``, if it is of a file."""
        self.http: Variant | None = http
        """As ``error-code`` of ``wasi:http/types``, if it is of a request."""

    def to_debug_string(self) -> str:
        """A text for people."""
        return self.text


CODES: Final[Mapping[Errno, str]] = {
    Errno.ACCES: "access",
    Errno.AGAIN: "would-block",
    Errno.ALREADY: "already",
    Errno.BADF: "bad-descriptor",
    Errno.BUSY: "busy",
    Errno.CANCELED: "interrupted",
    Errno.DEADLK: "deadlock",
    Errno.DQUOT: "quota",
    Errno.EXIST: "exist",
    Errno.FBIG: "file-too-large",
    Errno.ILSEQ: "illegal-byte-sequence",
    Errno.INPROGRESS: "in-progress",
    Errno.INTR: "interrupted",
    Errno.INVAL: "invalid",
    Errno.IO: "io",
    Errno.ISDIR: "is-directory",
    Errno.LOOP: "loop",
    Errno.MFILE: "insufficient-memory",  # there is no code for too many open files
    Errno.MLINK: "too-many-links",
    Errno.MSGSIZE: "message-size",
    Errno.NAMETOOLONG: "name-too-long",
    Errno.NFILE: "insufficient-memory",
    Errno.NODEV: "no-device",
    Errno.NOENT: "no-entry",
    Errno.NOLCK: "no-lock",
    Errno.NOMEM: "insufficient-memory",
    Errno.NOSPC: "insufficient-space",
    Errno.NOSYS: "unsupported",
    Errno.NOTCAPABLE: "not-permitted",
    Errno.NOTDIR: "not-directory",
    Errno.NOTEMPTY: "not-empty",
    Errno.NOTRECOVERABLE: "not-recoverable",
    Errno.NOTSUP: "unsupported",
    Errno.NOTTY: "no-tty",
    Errno.NXIO: "no-such-device",
    Errno.OVERFLOW: "overflow",
    Errno.PERM: "not-permitted",
    Errno.PIPE: "pipe",
    Errno.ROFS: "read-only",
    Errno.SPIPE: "invalid-seek",
    Errno.TXTBSY: "text-file-busy",
    Errno.XDEV: "cross-device",
}


def error_code(error: WasiError | OSError) -> str:
    """An error as ``error-code`` of ``wasi:filesystem/types``; ``"io"`` if it has no other."""
    errno = error.errno if isinstance(error, WasiError) else errno_of(error)
    return CODES.get(Errno(errno), "io")


def failed(failure: Failure, error: Exception) -> object:
    """What the component gets for an exception of a function.

    Raises:
        Exception: the given one, where the function's result has no place for it.
    """
    if isinstance(error, Unsuccessful) and failure is not Failure.NONE:
        return error.value
    if failure is Failure.STREAM:
        if isinstance(error, StreamClosed):
            return Variant("closed")
        if isinstance(error, WasiError | OSError):
            code = error_code(error)
            return Variant("last-operation-failed", IoError(code, code=code))
    if failure is Failure.CODE and isinstance(error, WasiError | OSError):
        return error_code(error)
    raise error


def check_class(thing: object, kind: type) -> None:
    """Raise unless a component has passed a handle of what a function is for.

    A component decides by itself which of its resources it calls an ``input-stream``. So it may be
    any object of the host's, also one of an application's own.

    Raises:
        GuestTrap: it is something else.
    """
    if not isinstance(thing, kind):
        message = (
            f"a function of WASI was given a {type(thing).__name__} where it takes a"
            f" {kind.__name__}"
        )
        raise broken_contract(message)


def broken_contract(message: str) -> GuestTrap:
    """The error for a guest that does what the contract answers with a trap."""
    return GuestTrap("wasi", message)
