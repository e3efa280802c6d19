"""``wasi:filesystem``: files and directories beneath what is preopened."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final, TypeAlias, final

import attrs

from wasmpool_host._wasi import file_operations, path_operations
from wasmpool_host._wasi.clock import SECOND
from wasmpool_host._wasi.directory import Directory
from wasmpool_host._wasi.errno import Errno, WasiError
from wasmpool_host._wasi.guest_memory import MAX_TRANSFER
from wasmpool_host._wasi.guest_path import check_path
from wasmpool_host._wasi.layout import FdFlag, FileType, FstFlag, OFlag, filetype_of, timestamp
from wasmpool_host._wasi.open_entries import OpenEntries
from wasmpool_host._wasi.rights import Right

from .failure import IoError, check_class
from .open_file import OpenFile
from .resource import Resource
from .streams import PERMIT, AppendOutput, FileInput, FileOutput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from wasmpool_host._wasi.descriptor import Descriptor as AnyDescriptor
    from wasmpool_host._wasi.layout import Status
    from wasmpool_host._wasi.process import Process
    from wasmpool_host._wit_values import Variant


__all__ = [
    "Datetime",
    "Descriptor",
    "DirectoryEntryStream",
    "filesystem_error_code",
    "get_directories",
]

Flags: TypeAlias = "AbstractSet[str]"
"""A value of a type of flags: those that are set."""

_TYPES: Final[Mapping[FileType, str]] = {
    FileType.UNKNOWN: "unknown",
    FileType.BLOCK_DEVICE: "block-device",
    FileType.CHARACTER_DEVICE: "character-device",
    FileType.DIRECTORY: "directory",
    FileType.REGULAR_FILE: "regular-file",
    FileType.SOCKET_DGRAM: "socket",
    FileType.SOCKET_STREAM: "socket",
    FileType.SYMBOLIC_LINK: "symbolic-link",
}

_OPEN: Final = {
    "create": OFlag.CREAT,
    "directory": OFlag.DIRECTORY,
    "exclusive": OFlag.EXCL,
    "truncate": OFlag.TRUNC,
}

_SYNCHRONOUS: Final = {
    "file-integrity-sync": FdFlag.SYNC,
    "data-integrity-sync": FdFlag.DSYNC,
    "requested-write-sync": FdFlag.RSYNC,
}

_SECRET: Final = os.urandom(32)
"""So that hashes tell nothing of inodes, and are of no use in another process."""


@attrs.frozen
class Datetime:
    """``datetime`` of ``wasi:clocks/wall-clock``."""

    seconds: int
    nanoseconds: int

    @classmethod
    def of(cls, nanoseconds: int) -> Datetime:
        """A number of nanoseconds since 1970."""
        return cls(*divmod(timestamp(nanoseconds), SECOND))


@attrs.frozen
class DescriptorStat:
    """``descriptor-stat``."""

    type: str
    link_count: int
    size: int
    data_access_timestamp: Datetime
    data_modification_timestamp: Datetime
    status_change_timestamp: Datetime


@attrs.frozen
class DirectoryEntry:
    """``directory-entry``."""

    type: str
    name: str


@attrs.frozen
class MetadataHash:
    """``metadata-hash-value``."""

    lower: int
    upper: int


@final
class Descriptor(Resource):
    """``descriptor``: an open file or directory."""

    __slots__ = ("_file", "_process")

    def __init__(self, process: Process, file: OpenFile) -> None:
        file.hold()
        self._process = process
        self._file = file

    @property
    def waits_on(self) -> int | None:
        return self._file.waits_on

    def enter(self, process: Process) -> None:
        self._process = process
        self._file.enter(process)

    def close(self) -> None:
        self._file.release()

    # --- of a file ---

    def read_via_stream(self, offset: int) -> FileInput:
        self._check(Right.FD_READ)
        return FileInput(self._file, offset)

    def write_via_stream(self, offset: int) -> FileOutput:
        self._check(Right.FD_WRITE)
        return FileOutput(self._file, offset)

    def append_via_stream(self) -> AppendOutput:
        self._check(Right.FD_WRITE)
        return AppendOutput(self._file)

    def advise(self, _offset: int, _length: int, _advice: str) -> None:
        self._open.advise()

    def sync_data(self) -> None:
        self._process.require_thread(self._open)
        self._open.sync(os.fdatasync)

    def sync(self) -> None:
        self._process.require_thread(self._open)
        self._open.sync(os.fsync)

    def set_size(self, size: int) -> None:
        file_operations.set_size(self._process, self._open, size)

    def read(self, length: int, offset: int) -> tuple[bytes, bool]:
        data = self._open.pread(min(length, PERMIT), offset)
        return data, bool(length and not data)

    def write(self, buffer: bytes, offset: int) -> int:
        return self._open.pwrite(buffer[:MAX_TRANSFER], offset)

    # --- of either ---

    def get_flags(self) -> Flags:
        descriptor = self._open
        if not isinstance(descriptor, Directory):
            both = ((Right.FD_READ, "read"), (Right.FD_WRITE, "write"))
            return {name for right, name in both if descriptor.rights & right}
        try:
            descriptor.check_writable()
        except WasiError:
            return {"read"}
        return {"read", "mutate-directory"}

    def get_type(self) -> str:
        return _TYPES[self._open.filetype]

    def stat(self) -> DescriptorStat:
        return _stat(self._status())

    def set_times(self, access: Variant, modification: Variant) -> None:
        self._open.set_times(*_times(access, modification))

    def is_same_object(self, other: Descriptor) -> bool:
        check_class(other, Descriptor)
        one, two = self._status(), other._status()
        return (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)

    def metadata_hash(self) -> MetadataHash:
        return _hash(self._status())

    # --- of a directory ---

    def read_directory(self) -> DirectoryEntryStream:
        self._process.descriptors.check_room()
        entries = self._directory.open_entries()
        return DirectoryEntryStream(OpenFile.add(self._process, entries))

    def create_directory_at(self, path: str) -> None:
        path_operations.create_directory(self._process, self._directory, _path(path))

    def stat_at(self, flags: Flags, path: str) -> DescriptorStat:
        return _stat(self._status_at(flags, path))

    def set_times_at(self, flags: Flags, path: str, access: Variant, modification: Variant) -> None:
        path_operations.set_times(
            self._directory, _path(path), *_times(access, modification), follow=_follows(flags)
        )

    def link_at(self, flags: Flags, old_path: str, new: Descriptor, new_path: str) -> None:
        check_class(new, Descriptor)
        if flags:
            raise WasiError(Errno.INVAL)
        path_operations.link(
            self._process, self._directory, _path(old_path), new._directory, _path(new_path)
        )

    def open_at(self, path_flags: Flags, path: str, open_flags: Flags, flags: Flags) -> Descriptor:
        directory, process = self._directory, self._process
        process.descriptors.check_room()
        if "mutate-directory" in flags:
            directory.check_writable()
        opened = path_operations.open_path(
            process, directory, _path(path), _how(open_flags, flags), follow=_follows(path_flags)
        )
        return Descriptor(process, OpenFile.add(process, opened))

    def readlink_at(self, path: str) -> str:
        target = path_operations.read_link(self._directory, _path(path))
        if target.startswith(b"/"):
            raise WasiError(Errno.PERM)
        return _text(target)

    def remove_directory_at(self, path: str) -> None:
        path_operations.remove_directory(self._process, self._directory, _path(path))

    def rename_at(self, old_path: str, new: Descriptor, new_path: str) -> None:
        check_class(new, Descriptor)
        path_operations.rename(
            self._process, self._directory, _path(old_path), new._directory, _path(new_path)
        )

    def symlink_at(self, old_path: str, new_path: str) -> None:
        target = _path(old_path)
        path_operations.symlink(self._process, target, self._directory, _path(new_path))

    def unlink_file_at(self, path: str) -> None:
        path_operations.remove_file(self._process, self._directory, _path(path))

    def metadata_hash_at(self, flags: Flags, path: str) -> MetadataHash:
        return _hash(self._status_at(flags, path))

    # ---

    @property
    def _open(self) -> AnyDescriptor:
        return self._file.descriptor

    @property
    def _directory(self) -> Directory:
        descriptor = self._file.descriptor
        if not isinstance(descriptor, Directory):
            raise WasiError(Errno.NOTDIR)
        return descriptor

    def _check(self, right: Right) -> None:
        """Raise unless it is a file that is open for this."""
        if isinstance(self._open, Directory) or not self._open.rights & right:
            raise WasiError(Errno.BADF)

    def _status(self) -> Status:
        status = self._open.status()
        assert status is not None  # it is no stream
        return status

    def _status_at(self, flags: Flags, path: str) -> Status:
        return path_operations.status_of(self._directory, _path(path), follow=_follows(flags))


@final
class DirectoryEntryStream(Resource):
    """``directory-entry-stream``: a listing of a directory."""

    __slots__ = ("_file",)

    def __init__(self, file: OpenFile) -> None:
        file.hold()
        self._file = file

    @property
    def waits_on(self) -> int | None:
        return self._file.waits_on

    def read_directory_entry(self) -> DirectoryEntry | None:
        """The next entry. One whose name is no UTF-8 is an error, and the one behind it follows."""
        entries = self._file.descriptor
        assert isinstance(entries, OpenEntries)
        found = entries.next()
        if found is None:
            return None
        name, kind = found
        return DirectoryEntry(_TYPES[kind], _text(name))

    def close(self) -> None:
        self._file.release()


def get_directories(process: Process) -> list[tuple[Descriptor, str]]:
    """The preopened directories, with their paths."""
    return [
        (Descriptor(process, OpenFile(process, fd, is_kept=True)), each.guest_path.decode())
        for fd, each in process.descriptors
        if isinstance(each, Directory) and each.guest_path is not None
    ]


def filesystem_error_code(_process: Process, error: IoError) -> str | None:
    """Why a stream of a file has failed."""
    check_class(error, IoError)
    return error.code


def _path(path: str) -> bytes:
    return check_path(path.encode())


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise WasiError(Errno.ILSEQ) from error


def _follows(flags: Flags) -> bool:
    return "symlink-follow" in flags


def _how(open_flags: Flags, flags: Flags) -> tuple[OFlag, Right, FdFlag]:
    oflags, access, synchronous = OFlag(0), Right(0), FdFlag.NONE
    for name in open_flags:
        oflags |= _OPEN[name]
    if "write" in flags:
        access |= Right.FD_WRITE
    if "read" in flags or "write" not in flags:
        access |= Right.FD_READ
    for name, flag in _SYNCHRONOUS.items():
        if name in flags:
            synchronous |= flag
    return oflags, access, synchronous


def _stat(status: Status) -> DescriptorStat:
    return DescriptorStat(
        _TYPES[filetype_of(status.st_mode)],
        status.st_nlink,
        status.st_size,
        Datetime.of(status.st_atime_ns),
        Datetime.of(status.st_mtime_ns),
        Datetime.of(status.st_ctime_ns),
    )


def _hash(status: Status) -> MetadataHash:
    parts = (
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )  # fmt: skip
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=16, key=_SECRET).digest()
    return MetadataHash(int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little"))


def _times(access: Variant, modification: Variant) -> tuple[int, int, FstFlag]:
    """The two times in nanoseconds, and which of them are set to what."""
    atim, atim_flag = _time(access, FstFlag.ATIM, FstFlag.ATIM_NOW)
    mtim, mtim_flag = _time(modification, FstFlag.MTIM, FstFlag.MTIM_NOW)
    return atim, mtim, atim_flag | mtim_flag


def _time(new: Variant, given: FstFlag, now: FstFlag) -> tuple[int, FstFlag]:
    if new.case == "now":
        return 0, now
    if new.case == "no-change":
        return 0, FstFlag(0)
    if new.value.nanoseconds >= SECOND:
        raise WasiError(Errno.INVAL)
    return new.value.seconds * SECOND + new.value.nanoseconds, given
