"""Where a guest's path leads, without ever leaving the directory that it was opened under.

The kernel cannot be asked to look up a whole path: it would follow ``..`` and symbolic links out of
the directory. Checking a path first and using it afterwards is no better, for between the two a
second guest, or any other program, can swap a directory for a link. (``openat2`` with
``RESOLVE_BENEATH`` would do, but Python has no way to it, and sandboxes often forbid it.) So a path
is walked here one component at a time, and each step is one system call that names one entry of a
directory that is already open:

- A step down is ``openat(directory, name, O_PATH | O_DIRECTORY | O_NOFOLLOW)``. It opens a true
  directory or nothing. What it has opened stays what it is, wherever somebody moves it meanwhile.
- A symbolic link is read, and what it says is walked like the guest's own path, from where we
  stand: a relative target goes on, an absolute one is refused. Their number is bounded: loops end.
- ``..`` closes the topmost directory of the stack and goes back to the one below it. The kernel's
  own ``..`` is never used: a directory that was moved out of the tree while we stand in it
  has a parent outside. At the bottom there is nothing to go back to, and the guest gets
  ``NOTCAPABLE``, as it does for an absolute path.

What comes out is not a path but a *place*: an open directory and the name of one entry in it. The
caller acts on that entry with a ``dir_fd`` and without following: if it has become a link since,
the system says ``ELOOP`` and nothing has happened. An entry's name may be ``.``, the directory
itself; it is never ``..`` and never has a slash inside.

Rejected: to resolve a path as text (``normpath``) or to compare ``realpath`` with the root. The
first is wrong where ``a`` in ``a/..`` is a link, both lose the race above.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, final

from .errno import Errno, WasiError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Place", "resolve"]

_MAX_LINKS = 40  # as Linux has it
_MAX_DEPTH = 128  # each directory on the way is an open descriptor of this process meanwhile
# A path has at most 2,048 components, but each link on the way may bring as many again: the loop
# waits while we walk, so it is the sum that counts (some 2 us a step).
_MAX_STEPS = 2048

_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Place(NamedTuple):
    """One entry of one open directory."""

    directory: int
    """The system's descriptor, open while the block of `resolve` runs."""
    name: bytes
    """The entry, which may be missing; ``b"."`` is the directory itself."""
    slash: bool
    """The path ended with a slash: only a directory will do."""

    @property
    def entry(self) -> bytes:
        """The name with its slash, for the calls that make, move or remove an entry.

        These (``mkdirat``, ``renameat``, ``unlinkat``, ``symlinkat``, ``linkat`` for its target)
        never follow it; the slash makes the system refuse what is no directory.
        """
        return self.name + b"/" if self.slash else self.name


@contextmanager
def resolve(root: int, path: bytes, *, follow: bool) -> Iterator[Place]:
    """Walk `path` from the open directory `root`.

    Args:
        root: the system's descriptor of the directory not to be left.
        path: the guest's.
        follow: whether a link at the very end is followed too.

    Raises:
        WasiError: ``NOTCAPABLE`` for a way out, ``LOOP`` for too many links, ``NAMETOOLONG`` for
            too many steps or too deep a place, ``NOENT`` for an empty path.
        OSError: a component on the way that is missing, no directory, or not ours to search.
    """
    walk = _Walk(root)
    try:
        yield walk.to(path, follow=follow)
    finally:
        walk.close()


@final
class _Walk:
    """The directories between the root and where we stand."""

    __slots__ = ("_root", "_stack")

    # Invariant: _stack[0] lies in _root, each other one in the one before it, at the time we
    # stepped down; all of _stack are ours to close, _root is not.

    def __init__(self, root: int) -> None:
        self._root = root
        self._stack: list[int] = []

    @property
    def _here(self) -> int:
        return self._stack[-1] if self._stack else self._root

    def to(self, path: bytes, *, follow: bool) -> Place:
        ahead, slash = _components(path)
        links = 0
        for _ in range(_MAX_STEPS):
            name = ahead.pop()
            if name == b"..":
                self._up()
            if name in (b".", b".."):
                if not ahead:
                    return Place(self._here, b".", slash)
                continue
            target = None
            if ahead:
                target = self._down(name)
            elif follow:
                target = self._link(name)
            if target is not None:
                links += 1
                if links > _MAX_LINKS:
                    raise WasiError(Errno.LOOP)
                more, link_slash = _components(target)
                slash = slash or (link_slash and not ahead)
                ahead += more
            elif not ahead:
                return Place(self._here, name, slash)
        raise WasiError(Errno.NAMETOOLONG)

    def _up(self) -> None:
        if not self._stack:
            raise WasiError(Errno.NOTCAPABLE)
        os.close(self._stack.pop())

    def _down(self, name: bytes) -> bytes | None:
        """Step into a directory; or return what the link of that name says."""
        if len(self._stack) == _MAX_DEPTH:
            raise WasiError(Errno.NAMETOOLONG)
        try:
            self._stack.append(os.open(name, _STEP, dir_fd=self._here))
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            target = self._link(name)
            if target is None:
                raise
            return target
        return None

    def _link(self, name: bytes) -> bytes | None:
        """What the link says; None for all else, also if it is missing: the caller will see."""
        try:
            return os.readlink(name, dir_fd=self._here)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return None
            raise

    def close(self) -> None:
        while self._stack:
            os.close(self._stack.pop())


def _components(path: bytes) -> tuple[list[bytes], bool]:
    """The components of a relative path, the last one first, and whether it ends with a slash."""
    if not path:
        raise WasiError(Errno.NOENT)
    if path.startswith(b"/"):
        raise WasiError(Errno.NOTCAPABLE)
    names = [name for name in path.split(b"/") if name]
    names.reverse()
    return names, path.endswith(b"/")
