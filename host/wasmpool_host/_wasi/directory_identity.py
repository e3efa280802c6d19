"""Which directory a `Preopen` is: determined when it is created, and checked at each opening.

Each instance opens its directories again, and a guest may have changed where their paths lead: if
one directory is beneath another that is writable, a guest can replace it by a symbolic link, and
the next instance would open the link's target. So a `Preopen` stores two things:

- The directory's *real path*, with every link followed when the `Preopen` is created. Later it is
  walked one component at a time, and no component may be a link (``O_NOFOLLOW``). After this check
  alone, a guest could still put a directory there that it can move, from beneath a writable one.
- Its *device and inode*. They are compared with those of the opened descriptor, so nothing can
  change between the check and the use. They differ if another directory was moved or mounted there.

An inode number may be reused after its directory was removed. So a guest may pass the comparison
with a directory of its own, but with no other: the walk follows no link, and the guest can write to
any directory that it can create or move anyway.

Rejected:

- Hold a descriptor (``O_PATH``) in the `Preopen`. Then no inode number is reused and no path is
  resolved again. But a `Preopen` is a plain value that is never closed: its descriptor would be
  left to the garbage collector, keep a file system from being unmounted, and be inherited by forks.
  And the comparison is still needed, as a descriptor does not show that its directory was replaced.
- Hold a descriptor in the module. Modules are never closed either; and two modules that share a
  `Preopen`, or a reloaded one, would have resolved it at different times.
- Also compare times or inode generations. Times change with each new file, and Python cannot read
  generations.
"""

from __future__ import annotations

import errno
import os
from typing import Final, NamedTuple

__all__ = ["DirectoryIdentity", "identify", "open_identified"]

_STEP: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class DirectoryIdentity(NamedTuple):
    """One particular directory, wherever its path may lead later."""

    real_path: str
    """Absolute, without links."""
    device: int
    inode: int


def identify(path: str) -> DirectoryIdentity:
    """Identify the directory where an absolute path leads now.

    Raises:
        OSError: there is none, or it cannot be reached.
    """
    real_path = os.path.realpath(path, strict=True)
    descriptor = _walk(real_path)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return DirectoryIdentity(real_path, status.st_dev, status.st_ino)


def open_identified(path: str, identity: DirectoryIdentity) -> int:
    """Open the directory so that it can be listed; `path` names it in messages.

    Raises:
        OSError: it is gone (``ENOENT``), or another one is in its place (``ESTALE``).
    """
    try:
        descriptor = _walk(identity.real_path)
    except OSError as error:
        raise _open_error(path, error) from error
    try:
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) != (identity.device, identity.inode):
            raise _replaced(path)
        # O_RDONLY, not O_PATH: it must be possible to list it.
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _walk(real_path: str) -> int:
    """A descriptor of the directory; no link on the way is followed."""
    descriptor = os.open("/", _STEP)
    for name in real_path.split("/"):
        if name:
            try:
                below = os.open(name, _STEP, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = below
    return descriptor


def _open_error(path: str, error: OSError) -> OSError:
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        return _replaced(path)
    return OSError(error.errno, f"a directory to preopen cannot be opened ({error.strerror})", path)


def _replaced(path: str) -> OSError:
    message = (
        "a directory to preopen is not the one that it was when its Preopen was made: make a new"
        " Preopen if it was meant to be replaced"
    )
    return OSError(errno.ESTALE, message, path)
