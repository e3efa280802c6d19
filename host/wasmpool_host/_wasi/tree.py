"""A tree of files in memory: what one run of a program may write without a trace on the host.

It behaves as a file system of Linux does, as far as WASI can tell: a file whose name is removed
lives on while it is open, two names may lead to one file, a directory is removed when it is empty.
What a tree holds is bounded. Content counts by its size, holes included; each file, directory and
link counts `NODE_SIZE` bytes besides, and each name `NAME_SIZE` bytes and its length, which is
about what they take here. What does not fit ends as ``NOSPC``, before anything is changed.

Content is kept in pieces, so that a large file grows, shrinks and ends in small steps: the loop
waits meanwhile.

Rejected: a directory of the host's (`tempfile`). It needs a disk or a mount, a quota that few
hosts can give, and a removal that may fail or take long.
"""

from __future__ import annotations

import stat
import time
from typing import TYPE_CHECKING, Final, TypeAlias, final
from weakref import ref

from .errno import Errno, WasiError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "MAX_NAME",
    "NAME_SIZE",
    "NODE_SIZE",
    "FileNode",
    "FolderNode",
    "LinkNode",
    "Node",
    "Tree",
]

PIECE: Final = 64 * 1024
"""Bytes of content that are kept, copied and freed at once."""

NODE_SIZE: Final = 256
"""Bytes that a file, a directory or a link counts without its names and content."""

NAME_SIZE: Final = 256
"""Bytes that a name counts without its letters: a file can have many. It takes half of that, but
with a million names in a directory the loop would wait for its table to grow."""

MAX_NAME: Final = 255
"""Bytes of a name (``NAME_MAX``)."""

_MAX_SIZE: Final = 2**63 - 1  # what a file offset can say


class Node:
    """What an entry of a directory leads to."""

    __slots__ = ("accessed", "changed", "inode", "links", "modified", "opened")

    mode: int
    """The kind, as ``st_mode`` has it."""

    def __init__(self, inode: int) -> None:
        self.inode = inode
        self.links = 0
        """Entries that lead here."""
        self.opened = 0
        """Open descriptors."""
        self.accessed = self.modified = self.changed = time.time_ns()

    @property
    def size(self) -> int:
        """Bytes, as ``stat`` tells them."""
        return 0


Piece: TypeAlias = "bytearray | memoryview | None"
"""A part of a file, with what was written of it; the rest is zeros. None is all zeros.

A view is of bytes that were given to the run: they are copied when the guest changes them.
"""


@final
class FileNode(Node):
    """A regular file: its content in pieces."""

    __slots__ = ("_pieces", "_size")

    mode = stat.S_IFREG

    # Invariants:
    # - there are as many pieces as the size needs
    # - no piece is longer than `PIECE`, or reaches behind the size: what is not counted is not kept

    def __init__(self, inode: int) -> None:
        super().__init__(inode)
        self._pieces: list[Piece] = []
        self._size = 0

    @property
    def size(self) -> int:
        return self._size

    def read(self, start: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``start``; none at the end."""
        end = min(start + size, self._size)
        found: list[bytes | bytearray | memoryview] = []
        while start < end:
            number, offset = divmod(start, PIECE)
            taken = min(PIECE - offset, end - start)
            written = (self._pieces[number] or b"")[offset : offset + taken]
            found += (written, bytes(taken - len(written)))
            start += taken
        return b"".join(found)

    def put(self, start: int, data: bytes) -> None:
        """Write, where there is room already: see `Tree.write`."""
        done = 0
        while done < len(data):
            number, offset = divmod(start + done, PIECE)
            piece = self._own(number)
            if len(piece) < offset:
                piece += bytes(offset - len(piece))
            taken = min(PIECE - offset, len(data) - done)
            piece[offset : offset + taken] = data[done : done + taken]
            done += taken

    def fill(self, content: bytes) -> None:
        """Give an empty file its content, without a copy."""
        view = memoryview(content)
        self._pieces = [view[at : at + PIECE] for at in range(0, len(content), PIECE)]
        self._size = len(content)

    def resize(self, size: int) -> None:
        """Cut the content, or make it longer with zeros, where there is room: `Tree.resize`."""
        number, offset = divmod(size, PIECE)
        needed = number + bool(offset)
        if size < self._size:
            del self._pieces[needed:]
            if offset:
                self._cut_last(offset)
        else:
            self._pieces += [None] * (needed - len(self._pieces))
        self._size = size

    def _cut_last(self, length: int) -> None:
        last = self._pieces[-1]
        if last is not None:
            self._pieces[-1] = last[:length]

    def _own(self, number: int) -> bytearray:
        """A piece that can be changed."""
        piece = self._pieces[number]
        if not isinstance(piece, bytearray):
            piece = self._pieces[number] = bytearray(piece or b"")
        return piece


@final
class FolderNode(Node):
    """A directory: its entries by name, in the order in which they were made."""

    __slots__ = ("__weakref__", "_parent", "entries")

    mode = stat.S_IFDIR

    def __init__(self, inode: int, parent: FolderNode | None) -> None:
        super().__init__(inode)
        self.entries: dict[bytes, Node] = {}
        self.parent = parent

    @property
    def parent(self) -> FolderNode | None:
        """The directory that it is in; None for the root, and for a directory that was removed.

        It is held weakly: a tree that nobody uses is gone at once, without a garbage collection.
        """
        return None if self._parent is None else self._parent()

    @parent.setter
    def parent(self, parent: FolderNode | None) -> None:
        self._parent = None if parent is None else ref(parent)


@final
class LinkNode(Node):
    """A symbolic link."""

    __slots__ = ("target",)

    mode = stat.S_IFLNK

    def __init__(self, inode: int, target: bytes) -> None:
        super().__init__(inode)
        self.target = target

    @property
    def size(self) -> int:
        return len(self.target)


Entry: TypeAlias = "tuple[FolderNode, bytes]"
"""A directory and a name in it, which may be missing."""


@final
class Tree:
    """The files of one run.

    Args:
        limit: bytes that it may hold in all.
    """

    __slots__ = ("_inodes", "_listed", "limit", "root", "used")

    # Invariants:
    # - used <= limit; it counts each node that has a link or is open, its names and its content
    # - a node is in exactly as many entries as it has `links`

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._inodes = 0
        self._listed = 0
        """Names that are held for listings."""
        self.root = FolderNode(self._next_inode(), None)
        self.root.links = 1

    def _next_inode(self) -> int:
        self._inodes += 1
        return self._inodes

    def _take(self, size: int) -> None:
        """Count what is about to be added.

        Raises:
            WasiError: ``NOSPC``, and nothing is counted.
        """
        if size > self.limit - self.used:
            raise WasiError(Errno.NOSPC)
        self.used += size

    # --- entries ---

    def make_file(self, folder: FolderNode, name: bytes) -> FileNode:
        """An empty file under a name that is free."""
        self._check_new(folder, name)
        node = FileNode(self._next_inode())
        self._add(folder, name, node, NODE_SIZE)
        return node

    def make_folder(self, folder: FolderNode, name: bytes) -> FolderNode:
        """An empty directory under a name that is free."""
        self._check_new(folder, name)
        node = FolderNode(self._next_inode(), folder)
        self._add(folder, name, node, NODE_SIZE)
        return node

    def make_link(self, folder: FolderNode, name: bytes, target: bytes) -> None:
        """A symbolic link under a name that is free."""
        self._check_new(folder, name)
        self._add(folder, name, LinkNode(self._next_inode(), target), NODE_SIZE + len(target))

    def add_name(self, folder: FolderNode, name: bytes, node: Node) -> None:
        """Another name for a file or a link."""
        if isinstance(node, FolderNode):
            raise WasiError(Errno.PERM)
        self._check_new(folder, name)
        self._add(folder, name, node, 0)

    def remove(self, folder: FolderNode, name: bytes) -> None:
        """Remove a file or a link."""
        node = self._get(folder, name)
        if isinstance(node, FolderNode):
            raise WasiError(Errno.ISDIR)
        self._drop(folder, name, node)

    def remove_folder(self, folder: FolderNode, name: bytes) -> None:
        """Remove an empty directory."""
        node = self._get(folder, name)
        if not isinstance(node, FolderNode):
            raise WasiError(Errno.NOTDIR)
        if node.entries:
            raise WasiError(Errno.NOTEMPTY)
        self._drop(folder, name, node)

    def rename(self, old: Entry, new: Entry) -> None:
        """Move an entry, in place of another one of its kind if there is one."""
        (folder, name), (to, new_name) = old, new
        node = self._get(folder, name)
        there = to.entries.get(new_name)
        if there is node:
            return
        if isinstance(node, FolderNode) and _is_within(to, node):
            raise WasiError(Errno.INVAL)
        if isinstance(there, FolderNode) and _is_within(folder, there):
            raise WasiError(Errno.NOTEMPTY)
        if there is None:
            self._check_new(to, new_name)
            more = len(new_name) - len(name)
            self._take(more)
        else:
            _check_replaceable(node, there)
            self._drop(to, new_name, there)
            self.used += len(new_name) - len(name)
        del folder.entries[name]
        to.entries[new_name] = node
        if isinstance(node, FolderNode):
            node.parent = to
        now = time.time_ns()
        node.changed = folder.modified = folder.changed = to.modified = to.changed = now

    def _get(self, folder: FolderNode, name: bytes) -> Node:
        try:
            return folder.entries[name]
        except KeyError:
            raise WasiError(Errno.NOENT) from None

    def _check_new(self, folder: FolderNode, name: bytes) -> None:
        if name in folder.entries:
            raise WasiError(Errno.EXIST)
        if len(name) > MAX_NAME:
            raise WasiError(Errno.NAMETOOLONG)
        if not folder.links:  # it was removed while it was open
            raise WasiError(Errno.NOENT)

    def _add(self, folder: FolderNode, name: bytes, node: Node, size: int) -> None:
        self._take(size + NAME_SIZE + len(name))
        folder.entries[name] = node
        node.links += 1
        folder.modified = folder.changed = node.changed = time.time_ns()

    def _drop(self, folder: FolderNode, name: bytes, node: Node) -> None:
        del folder.entries[name]
        self.used -= NAME_SIZE + len(name)
        node.links -= 1
        if isinstance(node, FolderNode):
            node.parent = None
        folder.modified = folder.changed = node.changed = time.time_ns()
        self._end(node)

    # --- content ---

    def write(self, node: FileNode, start: int, data: bytes) -> int:
        """Write what there is room for; return how many bytes."""
        if not data:
            return 0
        room = self.limit - self.used + node.size
        data = data[: max(room - start, 0)]
        if not data:
            raise WasiError(Errno.NOSPC)
        end = start + len(data)
        if end > node.size:
            self.resize(node, end)
        node.put(start, data)
        node.modified = node.changed = time.time_ns()
        return len(data)

    def resize(self, node: FileNode, size: int) -> None:
        """Cut a file, or make it longer with zeros."""
        if size > _MAX_SIZE:
            raise WasiError(Errno.INVAL)
        self._take(size - node.size)
        node.resize(size)
        node.modified = node.changed = time.time_ns()

    # --- descriptors ---

    def close(self, node: Node) -> None:
        """One descriptor less; a node without a name ends with its last one."""
        node.opened -= 1
        self._end(node)

    def _end(self, node: Node) -> None:
        if node.links or node.opened:
            return
        self.used -= NODE_SIZE + node.size
        if isinstance(node, FileNode):
            node.resize(0)

    def take_listing(self, names: int) -> None:
        """Count the names that a descriptor holds while a directory is listed.

        They may be as many as the tree can hold in all: room for a listing of everything, but not
        for 250 of them.

        Raises:
            WasiError: ``NOMEM``, and nothing is counted.
        """
        if names > self.limit // NAME_SIZE - self._listed:
            raise WasiError(Errno.NOMEM)
        self._listed += names

    def give_listing(self, names: int) -> None:
        """They are held no longer."""
        self._listed -= names

    # --- for the host ---

    def fill(self, node: FileNode, content: bytes) -> None:
        """Give an empty file its content.

        Raises:
            WasiError: ``NOSPC``, and nothing is counted.
        """
        self._take(len(content))
        node.fill(content)

    def end(self) -> Iterator[None]:
        """Free all entries, one at each step: to free 100,000 at once takes 50 ms."""
        ahead = [self.root]
        while ahead:
            entries = ahead.pop().entries
            while entries:
                _, node = entries.popitem()
                if isinstance(node, FolderNode):
                    ahead.append(node)
                del node
                yield


def _is_within(folder: FolderNode | None, node: FolderNode) -> bool:
    while folder is not None:
        if folder is node:
            return True
        folder = folder.parent
    return False


def _check_replaceable(node: Node, there: Node) -> None:
    """Raise unless ``node`` may be renamed to where ``there`` is."""
    if isinstance(there, FolderNode):
        if not isinstance(node, FolderNode):
            raise WasiError(Errno.ISDIR)
        if there.entries:
            raise WasiError(Errno.NOTEMPTY)
    elif isinstance(node, FolderNode):
        raise WasiError(Errno.NOTDIR)
