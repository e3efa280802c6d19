"""Files and directories in memory (`Tree`), as descriptors of a guest."""

# a file of memory has nothing to wait for, whatever the arguments

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, final

import attrs

from .descriptor import Descriptor
from .directory import Directory
from .errno import Errno, WasiError
from .files import new_times
from .layout import DIRENT, FdFlag, FileType, OFlag, filetype_of
from .listing import MAX_BUFFER
from .open_entries import OpenEntries
from .resolve import Walk
from .rights import Right, file_rights
from .tree import FileNode, FolderNode, LinkNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .entry import Entry
    from .tree import Node, Tree

__all__ = ["TreeDirectory", "TreeFile"]

_MAX_OFFSET: Final = 2**63 - 1  # off_t
_EVERYWHERE: Final = (b".", b"..")
"""Names of a listing that are no entries."""
_SETTABLE: Final = FdFlag.APPEND | FdFlag.NONBLOCK


@attrs.frozen
class _Status:
    """What ``stat`` tells of a node."""

    st_ino: int
    st_mode: int
    st_nlink: int
    st_size: int
    st_atime_ns: int
    st_mtime_ns: int
    st_ctime_ns: int
    st_dev: int = 0


def _status(node: Node) -> _Status:
    return _Status(
        node.inode, node.mode, node.links, node.size, node.accessed, node.modified, node.changed
    )


def _set_times(node: Node, atim: int, mtim: int, flags: int) -> None:
    node.accessed, node.modified = new_times(_status(node), atim, mtim, flags)


class _InMemory(Descriptor):
    """An open node of a tree."""

    __slots__ = ("_node", "_tree")

    def __init__(self, tree: Tree, node: Node, flags: FdFlag) -> None:
        super().__init__(flags)
        self._tree = tree
        self._node = node
        node.opened += 1

    def status(self) -> _Status:
        return _status(self._node)

    def set_times(self, atim: int, mtim: int, flags: int) -> None:
        _set_times(self._node, atim, mtim, flags)

    def sync(self, synchronize: Callable[[int], None]) -> None:
        pass

    def close(self) -> None:
        self._tree.close(self._node)


@final
class TreeFile(_InMemory):
    """A regular file."""

    __slots__ = ("_file", "_offset", "_readable", "_writable", "rights")

    filetype = FileType.REGULAR_FILE
    settable = _SETTABLE

    def __init__(self, tree: Tree, node: FileNode, flags: FdFlag, access: Right) -> None:
        super().__init__(tree, node, flags)
        self._file = node
        self._offset = 0
        self._readable = bool(access & Right.FD_READ)
        self._writable = bool(access & Right.FD_WRITE)
        self.rights = file_rights(readable=self._readable, writable=self._writable)

    def read(self, size: int) -> bytes:
        data = self.pread(size, self._offset)
        self._offset += len(data)
        return data

    def write(self, data: bytes) -> int:
        self._check_writable()
        if self.flags & FdFlag.APPEND:
            self._offset = self._file.size
        written = self._tree.write(self._file, self._offset, data)
        self._offset += written
        return written

    def pread(self, size: int, offset: int) -> bytes:
        if not self._readable:
            raise WasiError(Errno.BADF)
        return self._file.read(_checked(offset), size)

    def pwrite(self, data: bytes, offset: int) -> int:
        self._check_writable()
        _checked(offset)
        if self.flags & FdFlag.APPEND:
            offset = self._file.size  # as Linux does
        return self._tree.write(self._file, offset, data)

    def append(self, data: bytes) -> int:
        self._check_writable()
        return self._tree.write(self._file, self._file.size, data)

    def seek(self, offset: int, whence: int) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._file.size}
        if whence not in base or base[whence] + offset < 0:
            raise WasiError(Errno.INVAL)
        self._offset = _checked(base[whence] + offset)
        return self._offset

    def ready(self) -> int:
        return max(self._file.size - self._offset, 0)

    def set_size(self, size: int) -> None:
        self._check_writable()
        self._tree.resize(self._file, size)

    def advise(self) -> None:
        pass

    def allocate(self) -> None:
        raise WasiError(Errno.NOTSUP)  # as for files on disk

    def _check_writable(self) -> None:
        if not self._writable:
            raise WasiError(Errno.BADF)


@final
class TreeDirectory(_InMemory, Directory):
    """A directory, and everything beneath it."""

    __slots__ = ("_folder", "_names", "guest_path")

    def __init__(
        self,
        tree: Tree,
        node: FolderNode,
        flags: FdFlag = FdFlag.NONE,
        guest_path: bytes | None = None,
    ) -> None:
        super().__init__(tree, node, flags)
        self._folder = node
        self.guest_path = guest_path
        self._names: list[bytes] | None = None
        """The entries when the listing was begun; the tree counts them."""

    @contextmanager
    def resolve(self, path: bytes, *, follow: bool) -> Iterator[_TreeEntry]:
        folder, name, slash = _TreeWalk(self._folder).to(path, follow=follow)
        yield _TreeEntry(self._tree, folder, name, trailing_slash=slash)

    def list(self, cookie: int, size: int) -> bytes:
        if size > MAX_BUFFER:
            raise WasiError(Errno.INVAL)
        if cookie == 0 or self._names is None:
            self._begin_listing()
        names = self._names
        assert names is not None
        if cookie > len(names):
            raise WasiError(Errno.INVAL)
        packed = bytearray()
        while len(packed) < size and cookie < len(names):
            name = names[cookie]
            cookie += 1
            # Both are this directory, as in listings of the disk. A removed name is left out.
            node = self._folder if name in _EVERYWHERE else self._folder.entries.get(name)
            if node is not None:
                kind = filetype_of(node.mode)
                packed += DIRENT.pack(cookie, node.inode, len(name), kind) + name
        return bytes(packed[:size])

    def open_entries(self) -> _TreeEntries:
        return _TreeEntries(self._tree, self._folder)

    def _begin_listing(self) -> None:
        self._end_listing()
        entries = self._folder.entries
        self._tree.take_listing(len(entries))
        self._names = [*_EVERYWHERE, *entries]

    def _end_listing(self) -> None:
        if self._names is not None:
            self._tree.give_listing(len(self._names) - len(_EVERYWHERE))
            self._names = None

    def close(self) -> None:
        self._end_listing()
        super().close()


@final
class _TreeEntries(OpenEntries):
    """A listing of the names that a directory had when it was begun; the tree counts them."""

    __slots__ = ("_count", "_folder", "_names", "_tree")

    def __init__(self, tree: Tree, folder: FolderNode) -> None:
        super().__init__()
        self._count = len(folder.entries)
        tree.take_listing(self._count)
        self._tree = tree
        self._folder = folder
        self._names = iter(list(folder.entries))

    def next(self) -> tuple[bytes, FileType] | None:
        for name in self._names:
            node = self._folder.entries.get(name)
            if node is not None:  # else it was removed meanwhile
                return name, filetype_of(node.mode)
        return None

    def close(self) -> None:
        self._tree.give_listing(self._count)


@final
class _TreeWalk(Walk[FolderNode]):
    """A walk over directories in memory."""

    __slots__ = ()

    def _enter(self, name: bytes) -> FolderNode | bytes:
        node = self._current.entries.get(name)
        if isinstance(node, FolderNode):
            return node
        if isinstance(node, LinkNode):
            return node.target
        raise WasiError(Errno.NOENT if node is None else Errno.NOTDIR)

    def _read_link(self, name: bytes) -> bytes | None:
        node = self._current.entries.get(name)
        return node.target if isinstance(node, LinkNode) else None


@final
class _TreeEntry:
    """An entry of a directory in memory."""

    __slots__ = ("folder", "name", "trailing_slash", "tree")

    def __init__(
        self, tree: Tree, folder: FolderNode, name: bytes, *, trailing_slash: bool
    ) -> None:
        self.tree = tree
        self.folder = folder
        self.name = name
        self.trailing_slash = trailing_slash

    def _find(self) -> Node | None:
        return self.folder if self.name == b"." else self.folder.entries.get(self.name)

    def _get(self) -> Node:
        node = self._find()
        if node is None:
            raise WasiError(Errno.NOENT)
        return node

    def status(self) -> _Status:
        return _status(self._get())

    def is_large(self) -> bool:
        return False

    def open(self, oflags: OFlag, access: Right, flags: FdFlag) -> TreeFile | TreeDirectory:
        if flags | _SETTABLE != _SETTABLE:
            raise WasiError(Errno.NOTSUP)
        if oflags & OFlag.CREAT and oflags & OFlag.DIRECTORY:
            raise WasiError(Errno.INVAL)
        if oflags & OFlag.CREAT and self.trailing_slash:
            raise WasiError(Errno.ISDIR)
        node = self._find_or_make(oflags)
        if isinstance(node, FolderNode):
            if access & Right.FD_WRITE or oflags & (OFlag.CREAT | OFlag.TRUNC):
                raise WasiError(Errno.ISDIR)
            return TreeDirectory(self.tree, node, flags)
        if self.trailing_slash or oflags & OFlag.DIRECTORY:
            raise WasiError(Errno.NOTDIR)
        if not isinstance(node, FileNode):
            raise WasiError(Errno.LOOP)  # a link, which is not followed
        if oflags & OFlag.TRUNC:
            self.tree.resize(node, 0)
        return TreeFile(self.tree, node, flags, access)

    def _find_or_make(self, oflags: OFlag) -> Node:
        node = self._find()
        if not oflags & OFlag.CREAT:
            return self._get()
        if node is None:
            return self.tree.make_file(self.folder, self.name)
        if oflags & OFlag.EXCL:
            raise WasiError(Errno.EXIST)
        return node

    def set_times(self, atim: int, mtim: int, flags: int) -> None:
        _set_times(self._get(), atim, mtim, flags)

    def read_link(self) -> bytes:
        node = self._get()
        if not isinstance(node, LinkNode):
            raise WasiError(Errno.INVAL)
        return node.target

    def make_directory(self) -> None:
        if self.name == b".":
            raise WasiError(Errno.EXIST)
        self.tree.make_folder(self.folder, self.name)

    def make_link(self, target: bytes) -> None:
        self.check_free()
        self.tree.make_link(self.folder, self.name, target)

    def link_to(self, new: Entry) -> None:
        to = self._in_same_tree(new)
        if self.trailing_slash:
            raise WasiError(Errno.NOTDIR)
        node = self._get()
        to.check_free()
        self.tree.add_name(to.folder, to.name, node)

    def rename_to(self, new: Entry) -> None:
        to = self._in_same_tree(new)
        if b"." in (self.name, to.name):
            raise WasiError(Errno.BUSY)
        node = self._get()
        if (self.trailing_slash or to.trailing_slash) and not isinstance(node, FolderNode):
            raise WasiError(Errno.NOTDIR)
        self.tree.rename((self.folder, self.name), (to.folder, to.name))

    def remove_directory(self) -> None:
        if self.name == b".":
            raise WasiError(Errno.INVAL)
        self.tree.remove_folder(self.folder, self.name)

    def remove_file(self) -> None:
        node = self._get()
        if isinstance(node, FolderNode):
            raise WasiError(Errno.ISDIR)
        if self.trailing_slash:
            raise WasiError(Errno.NOTDIR)
        self.tree.remove(self.folder, self.name)

    def check_free(self) -> None:
        """The name must be free for what is no directory."""
        if self._find() is not None:
            raise WasiError(Errno.EXIST)
        if self.trailing_slash:
            raise WasiError(Errno.NOENT)  # as Linux has it

    def _in_same_tree(self, other: Entry) -> _TreeEntry:
        if not isinstance(other, _TreeEntry) or other.tree is not self.tree:
            raise WasiError(Errno.XDEV)
        return other


def _checked(offset: int) -> int:
    if offset > _MAX_OFFSET:
        raise WasiError(Errno.INVAL)
    return offset
