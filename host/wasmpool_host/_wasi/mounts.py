"""Whether the files of a directory may keep a caller waiting.

Files of a local file system are read and written at once, on the trio thread, which is tens of
times faster than a thread's work. A file system whose server may be silent, as those of networks,
of FUSE and of virtual machines, gets threads (see `apart`). Which one it is, the system's table of
mounts says, and reading that table waits for none of them, as ``statfs`` would.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["may_wait"]

_TABLE: Final = "/proc/self/mountinfo"
_UNKNOWN: Final = "unknown"

# What is not here gets threads: a file system nobody has heard of is slow, not a danger.
_LOCAL: Final = frozenset(
    "bcachefs binfmt_misc bpf btrfs cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs erofs"
    " exfat ext2 ext3 ext4 f2fs hugetlbfs iso9660 jfs mqueue msdos nsfs ntfs3 overlay proc pstore"
    " ramfs reiserfs rootfs securityfs selinuxfs squashfs sysfs tmpfs tracefs udf vfat xfs"
    " zfs".split()
)


def may_wait(real: str) -> bool:
    """Whether a file system that is no local one holds a directory, or is mounted beneath it.

    Args:
        real: the directory's path, absolute and without links.
    """
    try:
        with open(_TABLE, "rb") as table:  # noqa: PTH123
            kinds = _kinds(os.fsencode(real), table)
        if _UNKNOWN in kinds and os.major(os.stat(real).st_dev):  # noqa: PTH116
            kinds.remove(_UNKNOWN)  # in a chroot the root is not in the table; this is on a disk
        return any(kind not in _LOCAL for kind in kinds)
    except OSError:  # no /proc here
        return True


def _kinds(real: bytes, table: Iterable[bytes]) -> set[str]:
    """The kinds of the file systems at a directory and beneath it."""
    above: tuple[int, str] = (0, _UNKNOWN)
    beneath: set[str] = set()
    inside = real.rstrip(b"/") + b"/"
    for line in table:
        before, _, after = line.partition(b" - ")
        # Spaces and such are in octal, as in Python's literals.
        point = before.split()[4].decode("unicode_escape").encode("latin-1")
        kind = after.split()[0].decode("ascii", "replace")
        if point == real or inside.startswith(point.rstrip(b"/") + b"/"):
            above = max(above, (len(point), kind), key=lambda mount: mount[0])
            if len(point) == above[0]:
                above = (len(point), kind)  # of two on one another the later one
        elif point.startswith(inside):
            beneath.add(kind)
    return beneath | {above[1]}
