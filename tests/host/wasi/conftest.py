"""A WASI guest without wasm: a memory, a state, and the functions as the host binds them."""

# ruff: noqa: PTH208  # what the system does is said in its own words

from __future__ import annotations

import gc
import inspect
import os
import struct
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.host.wasi.preview2 import FakeComponent

from wasmpool_host._errors import GuestMemoryError
from wasmpool_host._wasi import Preopen, Wasi
from wasmpool_host._wasi.errno import Errno
from wasmpool_host._wasi.layout import FdFlag, LookupFlag, OFlag
from wasmpool_host._wasi.preview1 import FUNCTIONS, wasi_imports
from wasmpool_host._wasi.rights import Right

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OK = Errno.SUCCESS
SCRATCH = 0x100  # where results go; what is put starts behind it
READ = Right.FD_READ
WRITE = Right.FD_WRITE
READ_WRITE = READ | WRITE


class FakeMemory:
    """Linear memory as host functions see it: an access outside of its bounds is refused."""

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, ptr: int, size: int) -> bytes:
        self._check(ptr, size)
        return bytes(self.data[ptr : ptr + size])

    def write(self, ptr: int, data: bytes) -> None:
        self._check(ptr, len(data))
        self.data[ptr : ptr + len(data)] = data

    def _check(self, ptr: int, size: int) -> None:
        assert 0 <= ptr < 2**32, f"pointer {ptr} never made unsigned"
        assert 0 <= size < 2**32, f"size {size} never made unsigned"
        if ptr + size > len(self.data):
            raise GuestMemoryError(f"{size} bytes at {ptr} of {len(self.data)}")


class Stat(NamedTuple):
    dev: int
    ino: int
    filetype: int
    nlink: int
    size: int
    atim: int
    mtim: int
    ctim: int


class FakeGuest:
    """Calls WASI as a guest does: signed numbers in, an error number out, the rest in memory.

    It is the caller that the functions get, too.
    """

    def __init__(self, wasi: Wasi, size: int = 2**20) -> None:
        self.memory = FakeMemory(size)
        self.state: dict[Any, Any] = {}
        self.log_extra: dict[str, object] = {"pool": "of the guest"}
        self._functions = {function.name: function.function for function in wasi_imports(wasi)}
        self._top = 0x1000

    def close(self) -> None:
        for value in self.state.values():
            value.close()
        self.state.clear()

    # --- calls ---

    def call(self, name: str, *args: int) -> Errno:
        """Call a function that does not wait."""
        return Errno(self._functions[name](self, *_signed(name, args)))

    async def acall(self, name: str, *args: int) -> Errno:
        """Call a function that may wait."""
        answer = self._functions[name](self, *_signed(name, args))
        return Errno(await answer if inspect.isawaitable(answer) else answer)

    # --- memory ---

    def put(self, data: bytes) -> int:
        """Store data at a new place; return its address."""
        ptr = self._top
        self._top += (len(data) + 15) & ~7
        self.memory.write(ptr, data)
        return ptr

    def text(self, path: str | bytes) -> tuple[int, int]:
        data = os.fsencode(path)
        return self.put(data), len(data)

    def u32(self, ptr: int = SCRATCH) -> int:
        return int.from_bytes(self.memory.read(ptr, 4), "little")

    def u64(self, ptr: int = SCRATCH) -> int:
        return int.from_bytes(self.memory.read(ptr, 8), "little")

    def vectors(self, *pairs: tuple[int, int]) -> tuple[int, int]:
        return self.put(b"".join(struct.pack("<II", *pair) for pair in pairs)), len(pairs)

    # --- the contract's functions, as a C library wraps them ---

    def open(
        self,
        path: str | bytes,
        rights: Right = READ,
        oflags: OFlag = OFlag(0),  # noqa: B008  # a number
        *,
        flags: FdFlag = FdFlag.NONE,
        at: int = 3,
        follow: bool = True,
    ) -> tuple[Errno, int]:
        lookup = LookupFlag.SYMLINK_FOLLOW if follow else 0
        errno = self.call(
            "path_open", at, lookup, *self.text(path), oflags, rights, 0, flags, SCRATCH
        )
        return errno, self.u32()

    def opened(self, path: str | bytes, *args: Any, **kwargs: Any) -> int:
        errno, fd = self.open(path, *args, **kwargs)
        assert errno == OK
        return fd

    def write(self, fd: int, data: bytes) -> tuple[Errno, int]:
        errno = self.call("fd_write", fd, *self.vectors((self.put(data), len(data))), SCRATCH)
        return errno, self.u32()

    def read(self, fd: int, size: int = 4096) -> tuple[Errno, bytes]:
        ptr = self.put(bytes(size))
        errno = self.call("fd_read", fd, *self.vectors((ptr, size)), SCRATCH)
        return errno, self.memory.read(ptr, self.u32()) if errno == OK else b""

    def seek(self, fd: int, offset: int, whence: int = os.SEEK_SET) -> tuple[Errno, int]:
        errno = self.call("fd_seek", fd, offset, whence, SCRATCH)
        return errno, self.u64()

    def path(self, name: str, path: str | bytes, at: int = 3) -> Errno:
        """`path_create_directory` and the like: a directory and a path."""
        return self.call(name, at, *self.text(path))

    def stat(self, path: str | bytes, *, at: int = 3, follow: bool = False) -> tuple[Errno, Stat]:
        errno = self.call("path_filestat_get", at, int(follow), *self.text(path), SCRATCH)
        return errno, self.filestat()

    def filestat(self) -> Stat:
        return Stat(*struct.unpack("<QQB7xQQQQQ", self.memory.read(SCRATCH, 64)))

    def rename(self, old: str | bytes, new: str | bytes, at: int = 3, to: int = 3) -> Errno:
        return self.call("path_rename", at, *self.text(old), to, *self.text(new))

    def link(
        self, old: str | bytes, new: str | bytes, at: int = 3, to: int = 3, lookup: int = 0
    ) -> Errno:
        return self.call("path_link", at, lookup, *self.text(old), to, *self.text(new))

    def symlink(self, target: str | bytes, new: str | bytes, at: int = 3) -> Errno:
        return self.call("path_symlink", *self.text(target), at, *self.text(new))

    def close_file(self, fd: int) -> None:
        self.call("fd_close", fd)

    def set_times(self, path: str | bytes) -> Errno:
        """Set both times to now."""
        return self.call("path_filestat_set_times", 3, 1, *self.text(path), 0, 0, 0b1010)

    def read_link(self, path: str | bytes) -> Errno:
        return self.call("path_readlink", 3, *self.text(path), 0x200, 64, 0x100)

    def forget(self) -> None:
        """Use the memory from the start."""
        self._top = 0x1000

    def list(self, fd: int, size: int = 4096, cookie: int = 0) -> tuple[Errno, bytes]:
        ptr = self.put(bytes(size))
        errno = self.call("fd_readdir", fd, ptr, size, cookie, SCRATCH)
        return errno, self.memory.read(ptr, self.u32()) if errno == OK else b""


def _signed(name: str, args: tuple[int, ...]) -> list[int]:
    params = FUNCTIONS[name].params
    assert len(params) == len(args), f"{name} has {len(params)} parameters, not {len(args)}"
    signed = []
    for kind, arg in zip(params, args, strict=True):
        bits = int(kind[1:])
        unsigned = int(arg) & (2**bits - 1)
        signed.append(unsigned - 2**bits if unsigned >> (bits - 1) else unsigned)
    return signed


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def check_closed(before: int) -> None:
    """Check that no more descriptors are open than before; a thread may still close some."""
    deadline = time.monotonic() + 20
    while open_descriptors() > before and time.monotonic() < deadline:
        time.sleep(0.001)
    assert open_descriptors() == before


@pytest.fixture
def open_guest() -> Iterator[Callable[..., FakeGuest]]:
    """Create guests. At the end they are closed, and must leave no system descriptor open."""
    gc.collect()  # modules of earlier tests, which hold their memory's image open
    before = open_descriptors()
    guests: list[FakeGuest] = []

    def make(size: int = 2**20, **options: Any) -> FakeGuest:
        guests.append(FakeGuest(Wasi(**options), size))
        return guests[-1]

    yield make
    for guest in guests:
        guest.close()
    check_closed(before)


@pytest.fixture
def open_component() -> Iterator[Callable[..., FakeComponent]]:
    """Create components, as `open_guest` creates guests."""
    gc.collect()
    before = open_descriptors()
    made: list[FakeComponent] = []

    def make(**options: Any) -> FakeComponent:
        made.append(FakeComponent(Wasi(**options)))
        return made[-1]

    yield make
    for each in made:
        each.close()
    check_closed(before)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory to preopen; beside it is a secret that no guest may reach."""
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(b"0123456789")
    (root / "dir").mkdir()
    (root / "dir" / "nested").write_bytes(b"nested")
    return root


@pytest.fixture
def guest(open_guest: Callable[..., FakeGuest], root: Path) -> FakeGuest:
    """With `root` as descriptor 3, writable."""
    return open_guest(preopens={"/": Preopen(root, writable=True)})


@pytest.fixture
def reader(open_guest: Callable[..., FakeGuest], root: Path) -> FakeGuest:
    """With `root` as descriptor 3, read-only."""
    return open_guest(preopens={"/": root})


@pytest.fixture
def component(open_component: Callable[..., FakeComponent], root: Path) -> FakeComponent:
    """With `root` preopened, writable."""
    return open_component(preopens={"/": Preopen(root, writable=True)})
