"""Whether two of a run's files are one file, which would be lost or read while it is written."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FileIdentity", "identity_of", "shared_file"]

FileIdentity: TypeAlias = tuple[str, int, int]


def identity_of(file: int | str | os.PathLike[str]) -> FileIdentity | None:
    """What a file is, by whatever name or descriptor it was opened.

    None for what may be read and written at once: a terminal, a pipe, a socket, ``/dev/null``;
    and for what is not there.
    """
    try:
        status = os.stat(file)  # noqa: PTH116 - descriptors, too
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
    """The first name in `read` and name in `written` that stand for the same file."""
    for name, identity in read.items():
        for other, its_identity in written.items():
            if identity is not None and identity == its_identity:
                return name, other
    return None
