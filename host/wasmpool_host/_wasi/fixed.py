"""Which directory a `Preopen` is: found once, when it is made, and compared at each opening.

Each instance opens its directories anew, and a guest may have changed what their paths lead to:
where one directory lies below another that is writable, a guest can put a symbolic link in its
place, and the next instance would open what that says. So two things are kept of a directory:

- its *real path*, with every link followed when the `Preopen` is made. Later it is walked one
  component at a time, and none may be a link (``O_NOFOLLOW``). By that alone a guest can only put
  there what it can move: directories beneath its writable ones.
- its *device and inode*, compared with those of the descriptor that was opened, so that nothing can
  change between the look and the use. They are not the same for what was moved there, or mounted.

An inode's number may be used again once its directory is removed. So a guest may get a directory of
its own past the comparison, but no other: the walk follows no link, and what the guest can make or
move is what it could write to anyway.

Rejected:

- To hold a descriptor (``O_PATH``) in the `Preopen`. No number is used again then, and no path is
  looked up. But a `Preopen` is a plain value without an end: its descriptor would be left to the
  garbage collector, keep a file system from being unmounted, and be inherited by forks. Nor would
  the comparison be saved, as a descriptor does not show that its directory was replaced.
- To hold it in the module. Modules have no end either; and two modules, or one reloaded, that share
  a `Preopen` would have looked it up at different times.
- To compare times or generations as well: times change with each file that is made, and Python has
  no way to the others.
"""

from __future__ import annotations

import errno
import os
from typing import Final, NamedTuple

__all__ = ["Fixed", "fix", "open_fixed"]

_STEP: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Fixed(NamedTuple):
    """One directory, however its path is looked up later."""

    real: str
    """Absolute, without a link."""
    device: int
    inode: int


def fix(path: str) -> Fixed:
    """Find the directory that an absolute path leads to now.

    Raises:
        OSError: there is none, or it cannot be reached.
    """
    real = os.path.realpath(path, strict=True)
    descriptor = _walk(real)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return Fixed(real, status.st_dev, status.st_ino)


def open_fixed(path: str, fixed: Fixed) -> int:
    """Open the directory, for listing too; `path` is what messages call it.

    Raises:
        OSError: it is gone (``ENOENT``), or another one is in its place (``ESTALE``).
    """
    try:
        place = _walk(fixed.real)
    except OSError as error:
        raise _unlike(path, error) from error
    try:
        status = os.fstat(place)
        if (status.st_dev, status.st_ino) != (fixed.device, fixed.inode):
            raise _replaced(path)
        # O_RDONLY, not O_PATH: it must be possible to list it.
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
    finally:
        os.close(place)


def _walk(real: str) -> int:
    """A descriptor of the directory itself: no link on the way is followed."""
    here = os.open("/", _STEP)
    for name in real.split("/"):
        if name:
            try:
                there = os.open(name, _STEP, dir_fd=here)
            finally:
                os.close(here)
            here = there
    return here


def _unlike(path: str, error: OSError) -> OSError:
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        return _replaced(path)
    return OSError(error.errno, f"a directory to preopen cannot be opened ({error.strerror})", path)


def _replaced(path: str) -> OSError:
    message = (
        "a directory to preopen is not the one that it was when its Preopen was made: make a new"
        " Preopen if it was meant to be replaced"
    )
    return OSError(errno.ESTALE, message, path)
