"""Guests of preview 2 without wasm: a component, and one with the words of preview 1."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from wasmpool_host._wasi.errno import Errno
from wasmpool_host._wasi.layout import FdFlag, OFlag
from wasmpool_host._wasi.rights import Right
from wasmpool_host._wasi_p2.binding import bind
from wasmpool_host._wasi_p2.failure import CODES
from wasmpool_host._wasi_p2.interfaces import INTERFACES
from wasmpool_host._wasi_p2.resource import Resource
from wasmpool_host._wit_values import Err, Ok, Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmpool_host._wasi import Wasi

TYPES = "wasi:filesystem/types"
STREAMS = "wasi:io/streams"


class FakeComponent:
    """Calls WASI as a component does: values of WIT in and out. It is the caller, too.

    It keeps the handles that it gets, and has them closed at its end, as an instance has.
    """

    def __init__(self, wasi: Wasi) -> None:
        self.state: dict[Any, Any] = {}
        self.log_extra: dict[str, object] = {"pool": "of the guest"}
        self._wasi = wasi
        self._handles: list[Resource] = []

    def close(self) -> None:
        for value in self.state.values():
            value.close()
        self.state.clear()
        for handle in self._handles:
            handle.close()

    def drop(self, handle: Any) -> None:
        """Drop a handle."""
        self._handles.remove(handle)
        handle.close()

    def of_type(self, kind: type[Resource]) -> list[Resource]:
        """The handles of a kind, in the order in which they came."""
        return [handle for handle in self._handles if isinstance(handle, kind)]

    def call(self, interface: str, name: str, *args: Any) -> Any:
        """Call a function that does not wait."""
        answer = self._function(interface, name)(self, *args)
        assert not inspect.isawaitable(answer), f"{name} waits"
        return self._keep(answer)

    async def acall(self, interface: str, name: str, *args: Any) -> Any:
        """Call a function that may wait."""
        answer = self._function(interface, name)(self, *args)
        return self._keep(await answer if inspect.isawaitable(answer) else answer)

    def _function(self, interface: str, name: str) -> Callable[..., Any]:
        return bind(INTERFACES[interface][name], self._wasi)

    def _keep(self, answer: Any) -> Any:
        value = answer.value if isinstance(answer, Ok | Err) else answer
        if isinstance(value, Resource):
            self._handles.append(value)
        return answer

    # --- files ---

    def roots(self) -> list[Any]:
        """The preopened directories."""
        found = self.call("wasi:filesystem/preopens", "get-directories")
        self._handles += [directory for directory, _ in found]
        return [directory for directory, _ in found]

    def at(self, directory: Any, name: str, *args: Any) -> Any:
        """Call a method of a descriptor: what it returns, or its error."""
        answer = self.call(TYPES, f"[method]descriptor.{name}", directory, *args)
        return answer.value if isinstance(answer, Ok | Err) else answer

    def open(
        self,
        directory: Any,
        path: str,
        *,
        flags: Sequence[str] = ("read",),
        how: Sequence[str] = (),
        follow: bool = True,
    ) -> Any:
        """Open a path: its descriptor, or the error."""
        return self.at(directory, "open-at", follows(follow=follow), path, set(how), set(flags))

    def read(self, stream: Any, size: int = 4096) -> Any:
        """Read a stream: bytes, or the error."""
        return self.call(STREAMS, "[method]input-stream.read", stream, size).value

    def write(self, stream: Any, data: bytes) -> Any:
        """Write into a stream: None, or the error."""
        return self.call(STREAMS, "[method]output-stream.write", stream, data).value


def follows(*, follow: bool) -> set[str]:
    return {"symlink-follow"} if follow else set()


class Stat(NamedTuple):
    size: int
    mtim: int


_ERRNOS = {code: errno for errno, code in reversed(list(CODES.items()))} | {
    "not-permitted": Errno.NOTCAPABLE,
    "unsupported": Errno.NOTSUP,
}
_HOW = {
    OFlag.CREAT: "create",
    OFlag.DIRECTORY: "directory",
    OFlag.EXCL: "exclusive",
    OFlag.TRUNC: "truncate",
}


class Preview2:
    """A component that is used in the words of `FakeGuest`, for tests that are of both previews.

    Descriptors have numbers here: those of the preopened directories begin at 3.
    """

    def __init__(self, component: FakeComponent) -> None:
        self.component = component
        self._open: dict[int, Any] = dict(enumerate(component.roots(), 3))

    def _at(self, at: int, name: str, *args: Any) -> tuple[Errno, Any]:
        try:
            given = [os.fsdecode(each) if isinstance(each, bytes) else each for each in args]
            answer = self.component.call(
                TYPES, f"[method]descriptor.{name}", self._open[at], *given
            )
        except UnicodeEncodeError:
            return Errno.ILSEQ, None  # no component can pass such a string
        if isinstance(answer, Err):
            return _ERRNOS[answer.value], None
        return Errno.SUCCESS, answer.value

    def open(
        self,
        path: str | bytes,
        rights: Right = Right.FD_READ,
        oflags: OFlag = OFlag(0),  # noqa: B008  # a number
        *,
        flags: FdFlag = FdFlag.NONE,
        at: int = 3,
        follow: bool = True,
    ) -> tuple[Errno, int]:
        assert not flags
        access = {"read"} if rights & Right.FD_READ else set()
        access |= {"write"} if rights & Right.FD_WRITE else set()
        how = {name for flag, name in _HOW.items() if oflags & flag}
        errno, opened = self._at(at, "open-at", follows(follow=follow), path, how, access)
        fd = max(self._open) + 1
        if errno == Errno.SUCCESS:
            self._open[fd] = opened
        return errno, fd

    def opened(self, path: str | bytes, *args: Any, **kwargs: Any) -> int:
        errno, fd = self.open(path, *args, **kwargs)
        assert errno == Errno.SUCCESS
        return fd

    def read(self, fd: int, size: int = 4096) -> tuple[Errno, bytes]:
        errno, found = self._at(fd, "read", size, 0)
        return errno, b"" if found is None else found[0]

    def close_file(self, fd: int) -> None:
        self.component.drop(self._open.pop(fd))

    def stat(self, path: str | bytes, *, at: int = 3, follow: bool = False) -> tuple[Errno, Stat]:
        errno, found = self._at(at, "stat-at", follows(follow=follow), path)
        if found is None:
            return errno, Stat(0, 0)
        time = found.data_modification_timestamp
        return errno, Stat(found.size, time.seconds * 10**9 + time.nanoseconds)

    def path(self, name: str, path: str | bytes, at: int = 3) -> Errno:
        names = {
            "path_create_directory": "create-directory-at",
            "path_unlink_file": "unlink-file-at",
            "path_remove_directory": "remove-directory-at",
        }
        return self._at(at, names[name], path)[0]

    def rename(self, old: str | bytes, new: str | bytes, at: int = 3, to: int = 3) -> Errno:
        return self._at(at, "rename-at", old, self._open[to], new)[0]

    def link(self, old: str | bytes, new: str | bytes, at: int = 3, to: int = 3) -> Errno:
        return self._at(at, "link-at", set(), old, self._open[to], new)[0]

    def symlink(self, target: str | bytes, new: str | bytes, at: int = 3) -> Errno:
        return self._at(at, "symlink-at", target, new)[0]

    def set_times(self, path: str | bytes) -> Errno:
        now = Variant("now")
        return self._at(3, "set-times-at", follows(follow=True), path, now, now)[0]

    def read_link(self, path: str | bytes) -> Errno:
        return self._at(3, "readlink-at", path)[0]

    def forget(self) -> None:
        """There is no memory to use again."""
