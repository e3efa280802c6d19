"""Whether operations on the files of a directory may block.

Files of a local file system are read and written on the trio thread, which is tens of times faster
than a worker thread. Operations on a file system whose server may stop answering (of a network, of
FUSE, of a virtual machine's host) run in threads (see `offload`). The kind of file system is read
from the system's table of mounts: this never blocks, while ``statfs`` would wait for the server.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["may_wait"]

_TABLE: Final = "/proc/self/mountinfo"
_UNKNOWN: Final = "unknown"

# All other file systems get threads: with an unknown one, guests are slow, but the loop is safe.
_LOCAL: Final = frozenset(
    "bcachefs binfmt_misc bpf btrfs cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs erofs"
    " exfat ext2 ext3 ext4 f2fs hugetlbfs iso9660 jfs mqueue msdos nsfs ntfs3 overlay proc pstore"
    " ramfs reiserfs rootfs securityfs selinuxfs squashfs sysfs tmpfs tracefs udf vfat xfs"
    " zfs".split()
)


def may_wait(real_path: str) -> bool:
    """Return True if a directory is on a file system that is not local, or has one beneath it.

    Args:
        real_path: the directory's path, absolute and without links.
    """
    try:
        with open(_TABLE, "rb") as table:  # noqa: PTH123 - its path is a str
            kinds = _kinds(os.fsencode(real_path), table)
        if _UNKNOWN in kinds and os.major(os.stat(real_path).st_dev):  # noqa: PTH116 - and so is this
            kinds.remove(_UNKNOWN)  # a chroot's root is not in the table, but here it is on a disk
        return any(kind not in _LOCAL for kind in kinds)
    except OSError:  # /proc is not mounted
        return True


def _kinds(real_path: bytes, table: Iterable[bytes]) -> set[str]:
    """The kinds of the file systems at a directory and beneath it."""
    above: tuple[int, str] = (0, _UNKNOWN)
    beneath: set[str] = set()
    inside = real_path.rstrip(b"/") + b"/"
    for line in table:
        before, _, after = line.partition(b" - ")
        # Spaces and some other characters are in octal, as in Python's literals.
        point = before.split()[4].decode("unicode_escape").encode("latin-1")
        kind = after.split()[0].decode("ascii", "replace")
        if point == real_path or inside.startswith(point.rstrip(b"/") + b"/"):
            above = max(above, (len(point), kind), key=lambda mount: mount[0])
            if len(point) == above[0]:
                above = (len(point), kind)  # the last mount at one point hides the others
        elif point.startswith(inside):
            beneath.add(kind)
    return beneath | {above[1]}
