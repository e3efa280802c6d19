"""Files in memory answer as files on the host's disk do, up to the bound of their tree."""

from __future__ import annotations

import contextlib
import gc
import itertools
import random
import tracemalloc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from wasmpool_host._instance.caller import PROCESS
from wasmpool_host._wasi import Preopen, Wasi
from wasmpool_host._wasi import tree as tree_module
from wasmpool_host._wasi.errno import Errno, WasiError
from wasmpool_host._wasi.layout import DIRENT, FdFlag, FileType, OFlag
from wasmpool_host._wasi.process import open_process
from wasmpool_host._wasi.rights import Right
from wasmpool_host._wasi.tree import NAME_SIZE, NODE_SIZE, PIECE, FileNode, Tree
from wasmpool_host._wasi.tree_files import TreeDirectory

from .conftest import OK, READ_WRITE, SCRATCH, FakeGuest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20


def give_tree(guest: FakeGuest, tree: Tree) -> None:
    """Let a guest have a tree as its directory 3."""
    process = guest.state[PROCESS] = open_process(Wasi())
    process.descriptors.add(TreeDirectory(tree, tree.root, guest_path=b"/"))


@pytest.fixture
def tree() -> Tree:
    return Tree(MIB)


@pytest.fixture
def inside(open_guest: Callable[..., FakeGuest], tree: Tree) -> FakeGuest:
    """A guest whose directory is in memory."""
    guest = open_guest()
    give_tree(guest, tree)
    return guest


def names_of(listing: bytes) -> list[tuple[bytes, int]]:
    """The names and kinds in a listing, sorted: a disk has an order of its own."""
    found = []
    while listing:
        _, _, length, kind = DIRENT.unpack(listing[: DIRENT.size])
        found.append((listing[DIRENT.size : DIRENT.size + length], kind))
        listing = listing[DIRENT.size + length :]
    return sorted(found)


NAMES = (
    "a",
    "b",
    "c",
    "a/x",
    "a/y",
    "b/x",
    "a/b/c",
    "c/",
    "a/",
    ".",
    "a/.",
    "a/../b",
    "..",
    "l",
    "l/x",
)


OFLAGS = (
    OFlag(0),
    OFlag(0),
    OFlag.CREAT,
    OFlag.CREAT,
    OFlag.CREAT | OFlag.EXCL,
    OFlag.CREAT | OFlag.TRUNC,
    OFlag.TRUNC,
    OFlag.DIRECTORY,
)


class Step:
    """One call with its arguments, at random; its answer is all that a guest can tell."""

    def __init__(self, rng: random.Random) -> None:
        self.name = rng.choice(WAYS)
        self.one, self.two = rng.choice(NAMES), rng.choice(NAMES)
        self.fd, self.offset = rng.randrange(4, 9), rng.randrange(300)
        self.data = rng.randbytes(rng.randrange(200))
        self.whence = rng.choice((0, 1, 2, 7))
        self.follow = rng.choice((True, False))
        self.oflags = rng.choice(OFLAGS)
        self.flags = rng.choice((FdFlag.NONE, FdFlag.NONE, FdFlag.APPEND))
        self.rights = rng.choice((Right.FD_READ, READ_WRITE, READ_WRITE, Right.FD_WRITE))

    def __repr__(self) -> str:
        return f"{self.name} {vars(self)}"

    def __call__(self, guest: FakeGuest) -> Any:
        return getattr(self, self.name)(guest)

    def open(self, guest: FakeGuest) -> Any:
        errno, fd = guest.open(
            self.one, self.rights, self.oflags, flags=self.flags, follow=self.follow
        )
        return _if_ok(errno, fd)

    def stat(self, guest: FakeGuest) -> Any:
        errno, found = guest.stat(self.one, follow=self.follow)
        is_file = found.filetype == FileType.REGULAR_FILE  # the rest have sizes of their own
        return errno, found.filetype, (found.nlink, found.size) if is_file else None

    def list(self, guest: FakeGuest) -> Any:
        errno, fd = guest.open(self.one, oflags=OFlag.DIRECTORY)
        return (errno, *_listed(guest, fd)) if errno == OK else errno

    def seek(self, guest: FakeGuest) -> Any:
        return _if_ok(*guest.seek(self.fd, self.offset - 100, self.whence))

    def read(self, guest: FakeGuest) -> Any:
        return guest.read(self.fd, len(self.data))

    def pread(self, guest: FakeGuest) -> Any:
        size = len(self.data)
        ptr = guest.put(bytes(size))
        errno = guest.call("fd_pread", self.fd, *guest.vectors((ptr, size)), self.offset, SCRATCH)
        return _if_ok(errno, guest.memory.read(ptr, size))

    def write(self, guest: FakeGuest) -> Any:
        return _if_ok(*guest.write(self.fd, self.data))

    def pwrite(self, guest: FakeGuest) -> Any:
        vectors = guest.vectors((guest.put(self.data), len(self.data)))
        errno = guest.call("fd_pwrite", self.fd, *vectors, self.offset, SCRATCH)
        return _if_ok(errno, guest.u32())

    def set_size(self, guest: FakeGuest) -> Any:
        return guest.call("fd_filestat_set_size", self.fd, self.offset)

    def close(self, guest: FakeGuest) -> Any:
        return guest.call("fd_close", self.fd)

    def read_link(self, guest: FakeGuest) -> Any:
        ptr = guest.put(bytes(64))
        errno = guest.call("path_readlink", 3, *guest.text(self.one), ptr, 64, SCRATCH)
        return _if_ok(errno, guest.memory.read(ptr, 64))

    def make_directory(self, guest: FakeGuest) -> Any:
        return guest.path("path_create_directory", self.one)

    def remove_directory(self, guest: FakeGuest) -> Any:
        return guest.path("path_remove_directory", self.one)

    def remove_file(self, guest: FakeGuest) -> Any:
        return guest.path("path_unlink_file", self.one)

    def rename(self, guest: FakeGuest) -> Any:
        return guest.rename(self.one, self.two)

    def link(self, guest: FakeGuest) -> Any:
        return guest.link(self.one, self.two)

    def symlink(self, guest: FakeGuest) -> Any:
        return guest.symlink(self.two, self.one)


WAYS = [name for name in vars(Step) if not name.startswith("_")]


def _if_ok(errno: Errno, answer: object) -> tuple[Errno, object]:
    return errno, answer if errno == OK else None


def _listed(guest: FakeGuest, fd: int) -> tuple[object, Errno]:
    return names_of(guest.list(fd)[1]), guest.call("fd_close", fd)


@pytest.mark.parametrize("seed", range(12))
def test_memory_and_disk_answer_alike(
    open_guest: Callable[..., FakeGuest],
    tmp_path: Path,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four hundred random calls each: the same errors, names, sizes and contents."""
    if seed % 2:
        monkeypatch.setattr(tree_module, "PIECE", 64)  # so that there are many of them
    root = tmp_path / "root"
    root.mkdir()
    disk = open_guest(preopens={"/": Preopen(root, writable=True)})
    memory = open_guest()
    give_tree(memory, Tree(MIB))
    rng = random.Random(seed)
    for _ in range(400):
        step = Step(rng)
        disk._top = memory._top = 0x1000
        assert step(memory) == step(disk), step


def test_all_is_given_back(inside: FakeGuest, tree: Tree) -> None:
    """What is written, renamed, linked and removed leaves nothing counted."""
    assert inside.path("path_create_directory", "dir") == OK
    fd = inside.opened("dir/file", READ_WRITE, OFlag.CREAT)
    assert inside.write(fd, b"x" * 1000) == (OK, 1000)
    assert tree.used == 2 * (NODE_SIZE + NAME_SIZE) + len("dir") + len("file") + 1000
    assert inside.link("dir/file", "other") == OK
    assert inside.rename("other", "longer name") == OK
    assert inside.path("path_unlink_file", "dir/file") == OK
    assert inside.path("path_unlink_file", "longer name") == OK
    assert inside.path("path_remove_directory", "dir") == OK
    assert tree.used == NODE_SIZE + 1000  # it is open
    assert inside.read(fd) == (OK, b"")
    assert inside.call("fd_close", fd) == OK
    assert tree.used == 0


def test_a_full_tree_takes_no_more(inside: FakeGuest, tree: Tree) -> None:
    """A write is cut where the room ends, and then refused; so are names, and holes."""
    fd = inside.opened("file", READ_WRITE, OFlag.CREAT)
    written = 0
    while (answer := inside.write(fd, b"x" * 100_000))[0] == OK:
        written += answer[1]
        inside._top = 0x1000
    assert answer[0] == Errno.NOSPC
    assert tree.used == tree.limit
    assert written == tree.limit - NODE_SIZE - NAME_SIZE - len("file")
    for name in ("path_create_directory", "path_unlink_file"):
        assert inside.path(name, "new") in (Errno.NOSPC, Errno.NOENT)
    assert inside.open("new", READ_WRITE, OFlag.CREAT)[0] == Errno.NOSPC
    assert inside.symlink("file", "new") == Errno.NOSPC
    assert inside.link("file", "new") == Errno.NOSPC
    assert inside.rename("file", "file2") == Errno.NOSPC
    assert inside.call("fd_filestat_set_size", fd, written + 1) == Errno.NOSPC
    assert inside.call("fd_filestat_set_size", fd, 2**62) == Errno.NOSPC
    assert inside.call("fd_filestat_set_size", fd, 10) == OK
    assert inside.path("path_create_directory", "new") == OK


def test_names_alone_fill_a_tree(inside: FakeGuest, tree: Tree) -> None:
    """Empty files are not free: their number is bounded."""
    made = 0
    while inside.open(f"{made:06}", READ_WRITE, OFlag.CREAT)[0] == OK:
        inside._top = 0x1000
        assert inside.call("fd_close", 4) == OK
        made += 1
    assert made == tree.limit // (NODE_SIZE + NAME_SIZE + 6)


def test_another_name_counts_as_a_name(inside: FakeGuest, tree: Tree) -> None:
    """A file with a million names of a letter or two would take a hundred times what is counted."""
    inside.opened("file", READ_WRITE, OFlag.CREAT)
    before = tree.used
    assert inside.link("file", "x") == OK
    assert tree.used == before + NAME_SIZE + 1


def file_of(size: int) -> Callable[[Tree, bytes], object]:
    content = bytes(size)
    return lambda tree, name: tree.write(tree.make_file(tree.root, name), 0, content)


def another_name(tree: Tree, name: bytes) -> None:
    node = tree.root.entries.get(b"file") or tree.make_file(tree.root, b"file")
    tree.add_name(tree.root, name, node)


MAKING: dict[str, Callable[[Tree, bytes], object]] = {
    "empty file": file_of(0),
    "file of a byte": file_of(1),
    "file": file_of(10_000),
    "directory": lambda tree, name: tree.make_folder(tree.root, name),
    "link": lambda tree, name: tree.make_link(tree.root, name, b"x" * 100),
    "name": another_name,
}


@pytest.mark.parametrize("what", MAKING)
def test_a_tree_takes_no_more_than_it_counts(what: str) -> None:
    """Of memory, whatever it is full of."""
    tree = Tree(MIB)
    tracemalloc.start()
    with contextlib.suppress(WasiError):
        for number in itertools.count():
            MAKING[what](tree, f"{number:06}".encode())
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert tree.limit / 4 < taken < tree.limit * 1.25


def test_listings_that_are_held_are_bounded(inside: FakeGuest, tree: Tree) -> None:
    """To one of all that the tree can hold: 250 descriptors of one directory have no more."""
    count = tree.limit // NAME_SIZE // 4
    folder = tree.make_folder(tree.root, b"dir")
    for number in range(count):
        tree.make_file(folder, f"{number}".encode())
    opened = []
    for _ in range(5):
        inside._top = 0x1000
        opened.append(inside.opened("dir", oflags=OFlag.DIRECTORY))
    answers = [inside.list(fd)[0] for fd in opened]
    assert answers == [OK] * 4 + [Errno.NOMEM]
    assert inside.list(opened[0])[0] == OK
    assert inside.call("fd_close", opened[0]) == OK
    assert inside.list(opened[4])[0] == OK


def test_a_tree_is_gone_when_nobody_uses_it() -> None:
    """At once: it does not wait for a garbage collection, with all of its content."""
    tree = Tree(MIB)
    outer = tree.make_folder(tree.root, b"outer")
    inner = tree.make_folder(outer, b"inner")
    tree.make_file(inner, b"file")
    tree.rename((outer, b"inner"), (tree.root, b"moved"))
    gone = [weakref.ref(each) for each in (tree.root, outer, inner)]
    gc.disable()
    try:
        del tree, outer, inner
        assert [each() for each in gone] == [None] * 3
    finally:
        gc.enable()


def test_what_is_given_is_copied_when_it_is_changed() -> None:
    """Not before, and the rest of it not at all."""
    given = bytes(range(256)) * (3 * PIECE // 256) + b"end"
    tree = Tree(MIB)
    node = tree.make_file(tree.root, b"file")
    tree.fill(node, given)
    assert node.read(0, MIB) == given
    tree.write(node, PIECE + 5, b"new")
    tree.resize(node, 2 * PIECE + 3)
    tree.resize(node, 2 * PIECE + 6)
    expected = given[: PIECE + 5] + b"new" + given[PIECE + 8 : 2 * PIECE + 3] + bytes(3)
    assert node.read(0, MIB) == expected
    assert given.startswith(bytes(range(256)))
    tree.write(node, 2 * PIECE + 5, b"x")
    assert node.read(2 * PIECE, 10) == given[2 * PIECE : 2 * PIECE + 3] + b"\0\0x"
    assert tree.used == NODE_SIZE + NAME_SIZE + len("file") + node.size


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_what_was_cut_off_does_not_come_back(size: int) -> None:
    """A file that is cut and made longer again has zeros there."""
    node = FileNode(1)
    node.resize(3 * PIECE)
    node.put(0, b"x" * 3 * PIECE)
    node.resize(size)
    assert node.read(0, 4 * PIECE) == b"x" * size
    node.resize(3 * PIECE)
    assert node.read(0, 4 * PIECE) == b"x" * size + bytes(3 * PIECE - size)


def test_between_memory_and_disk_nothing_moves(
    open_guest: Callable[..., FakeGuest], tmp_path: Path
) -> None:
    """They are two file systems: ``XDEV``, either way."""
    guest = open_guest(preopens={"/disk": Preopen(tmp_path, writable=True)})
    assert guest.open("x", READ_WRITE, OFlag.CREAT)[0] == OK
    tree = Tree(MIB)
    process = guest.state[PROCESS]
    at = process.descriptors.add(TreeDirectory(tree, tree.root, guest_path=b"/memory"))
    assert guest.open("y", READ_WRITE, OFlag.CREAT, at=at)[0] == OK
    assert guest.rename("x", "z", 3, at) == guest.rename("y", "z", at, 3) == Errno.XDEV
    assert guest.link("x", "z", 3, at) == guest.link("y", "z", at, 3) == Errno.XDEV
