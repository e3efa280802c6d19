"""Where a guest's path leads, without ever leaving the directory where it starts.

The kernel must not resolve the whole path: it would follow ``..`` and symbolic links out of the
directory. To check a path first and use it afterwards is not safe either: in between, a second
guest, or any other program, can replace a directory by a link. So a path is walked here one
component at a time, and each step is one system call that names one entry of an open directory:

- A step down is ``openat(directory, name, O_PATH | O_DIRECTORY | O_NOFOLLOW)``. It opens a
  directory or fails. The descriptor keeps meaning this directory, even if it is moved meanwhile.
- A symbolic link is read, and its target is walked like the guest's own path, from the current
  directory: a relative target is followed, an absolute one is refused. The number of links is
  limited, so loops end.
- ``..`` closes the top directory of the stack and returns to the one below. The kernel's own ``..``
  is never used: a directory that was moved out of the tree while it was walked has a parent
  outside. At the bottom of the stack the guest gets ``NOTCAPABLE``, as for an absolute path.

The result is not a path but a `ResolvedPath`: an open directory, and the name of one entry in it.
The caller acts on this entry with ``dir_fd`` and without following links: if the entry became a
link meanwhile, the system call fails with ``ELOOP`` and has no effect. The name may be ``.``, the
directory itself; it is never ``..`` and never contains a slash.

Rejected:

- Normalize the path as text (``normpath``): wrong if ``a`` in ``a/..`` is a link, and open to the
  race above.
- Compare ``realpath`` with the root: open to the same race.
- ``openat2`` with ``RESOLVE_BENEATH``: Python does not offer it, and sandboxes often forbid it.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar, final

from .errno import Errno, WasiError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ResolvedPath", "Walk", "resolve"]

D = TypeVar("D")

_MAX_LINKS = 40  # Linux's limit
_MAX_DEPTH = 128  # during the walk, each directory on the way is an open descriptor of this process
# A path has at most 2,048 components, but each link on the way may add as many. The loop waits
# during the walk, so the sum is limited (about 2 us for each step).
_MAX_STEPS = 2048

_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class ResolvedPath(NamedTuple):
    """One entry of one open directory."""

    directory: int
    """The system's descriptor, open only inside the ``with`` block of `resolve`."""
    name: bytes
    """The entry, which may be missing; ``b"."`` is the directory itself."""
    trailing_slash: bool
    """The path ended with a slash, so the entry must be a directory."""

    @property
    def name_with_slash(self) -> bytes:
        """The name with its slash, for system calls that create, move or remove an entry.

        These calls (``mkdirat``, ``renameat``, ``unlinkat``, ``symlinkat``, and ``linkat`` for its
        target) never follow the entry; with the slash, the system refuses all but directories.
        """
        return self.name + b"/" if self.trailing_slash else self.name


@contextmanager
def resolve(root: int, path: bytes, *, follow: bool) -> Iterator[ResolvedPath]:
    """Walk `path` from the open directory `root`.

    Args:
        root: the system's descriptor of the directory that must not be left.
        path: the guest's path.
        follow: also follow a link that is the last component.

    Raises:
        WasiError: ``NOTCAPABLE`` if the path leads out, ``LOOP`` for too many links,
            ``NAMETOOLONG`` for too many steps or too many levels, ``NOENT`` for an empty path.
        OSError: a component on the way is missing, is no directory, or may not be searched.
    """
    walk = _DiskWalk(root)
    try:
        yield ResolvedPath(*walk.to(path, follow=follow))
    finally:
        walk.close()


class Walk(Generic[D]):
    """A path walked component by component; the subclass knows the kind of directories."""

    __slots__ = ("_root", "_stack")

    # Invariant: at the time of the step down, _stack[0] was in _root, and each other directory in
    # the one before it.

    def __init__(self, root: D) -> None:
        self._root = root
        self._stack: list[D] = []

    @property
    def _current(self) -> D:
        return self._stack[-1] if self._stack else self._root

    def to(self, path: bytes, *, follow: bool) -> tuple[D, bytes, bool]:
        """Walk the path: its last directory, the name in it, True if a slash ends the path."""
        ahead, slash = _components(path)
        links = 0
        for _ in range(_MAX_STEPS):
            name = ahead.pop()
            # 1. "." and "..".
            if name == b"..":
                self._up()
            if name in (b".", b".."):
                if not ahead:
                    return self._current, b".", slash
                continue
            # 2. A component on the way: step into it. The last one: read it if it is a link.
            target = None
            if ahead:
                target = self._down(name)
            elif follow:
                target = self._read_link(name)
            # 3. A link: walk its target next.
            if target is not None:
                links += 1
                if links > _MAX_LINKS:
                    raise WasiError(Errno.LOOP)
                more, link_slash = _components(target)
                slash = slash or (link_slash and not ahead)
                ahead += more
            # 4. The last component, and no link to follow.
            elif not ahead:
                return self._current, name, slash
        raise WasiError(Errno.NAMETOOLONG)

    def _up(self) -> None:
        if not self._stack:
            raise WasiError(Errno.NOTCAPABLE)
        self._leave(self._stack.pop())

    def _down(self, name: bytes) -> bytes | None:
        """Step into a directory; if the entry is a link, return its target instead."""
        if len(self._stack) == _MAX_DEPTH:
            raise WasiError(Errno.NAMETOOLONG)
        entered = self._enter(name)
        if isinstance(entered, bytes):
            return entered
        self._stack.append(entered)
        return None

    def _enter(self, name: bytes) -> D | bytes:
        """The directory of that name; if the entry is a link, its target."""
        raise NotImplementedError

    def _read_link(self, name: bytes) -> bytes | None:
        """The target of a link; None if the entry is no link or missing: the caller finds out."""
        raise NotImplementedError

    def _leave(self, directory: D) -> None:
        """Give back a directory that was entered."""


@final
class _DiskWalk(Walk[int]):
    """Over open directories of the system. The walk closes all that it enters, but not the root."""

    __slots__ = ()

    def _enter(self, name: bytes) -> int | bytes:
        try:
            return os.open(name, _STEP, dir_fd=self._current)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            target = self._read_link(name)
            if target is None:
                raise
            return target

    def _read_link(self, name: bytes) -> bytes | None:
        try:
            return os.readlink(name, dir_fd=self._current)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return None
            raise

    def _leave(self, directory: int) -> None:
        os.close(directory)

    def close(self) -> None:
        while self._stack:
            os.close(self._stack.pop())


def _components(path: bytes) -> tuple[list[bytes], bool]:
    """The components of a relative path, last one first, and True if it ends with a slash."""
    if not path:
        raise WasiError(Errno.NOENT)
    if path.startswith(b"/"):
        raise WasiError(Errno.NOTCAPABLE)
    names = [name for name in path.split(b"/") if name]
    names.reverse()
    return names, path.endswith(b"/")
