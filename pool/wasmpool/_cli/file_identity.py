"""Detecting that two of a run's files are the same file, which would be overwritten."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FileIdentity", "identity_of", "shared_file"]

FileIdentity: TypeAlias = tuple[str, int, int]


def identity_of(file: int | str | os.PathLike[str]) -> FileIdentity | None:
    """Return the identity of a file, which does not depend on its name or descriptor.

    None for a file that can be read and written at the same time (a terminal, a pipe, a socket,
    ``/dev/null``), and for a file that does not exist.
    """
    try:
        status = os.stat(file)  # noqa: PTH116 - it may be a descriptor
    except OSError:
        return None
    if stat.S_ISREG(status.st_mode):
        return ("file", status.st_dev, status.st_ino)
    if stat.S_ISBLK(status.st_mode):
        return ("device", status.st_rdev, 0)
    return None


def shared_file(
    read: Mapping[str, FileIdentity | None], written: Mapping[str, FileIdentity | None]
) -> tuple[str, str] | None:
    """Return the first two names, one in `read` and one in `written`, of the same file."""
    for name, identity in read.items():
        for other, its_identity in written.items():
            if identity is not None and identity == its_identity:
                return name, other
    return None
