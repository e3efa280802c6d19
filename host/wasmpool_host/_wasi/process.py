"""What one instance sees as its process: arguments, environment and open descriptors."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any, final

import trio

from wasmpool_host._log_extra import NOBODY

from .config import as_bytes
from .descriptors import Descriptors, Input, Output, why_unlike_new
from .device_calls import calls_of, close_in_thread
from .directory_identity import open_identified
from .errno import Errno, NeedsThread, WasiError
from .files import DiskDirectory
from .line_log import LineLog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .config import Preopen, Sink, Wasi
    from .descriptor import Descriptor

__all__ = ["Process", "open_process", "open_process_offloaded"]


def open_process(wasi: Wasi, log_extra: Mapping[str, object] = NOBODY) -> Process:
    """Open the directories of a process, and create it.

    ``log_extra`` are attributes of the log records of its output.

    Raises:
        OSError: a preopened directory is gone, or was replaced.
    """
    opened: list[int] = []
    try:
        for preopen in wasi.preopens.values():
            opened.append(_open(preopen))  # noqa: PERF401 - on a failure, the earlier ones are closed
    except BaseException:
        _close(opened)
        raise
    return Process(wasi, opened, log_extra=log_extra)


async def open_process_offloaded(
    wasi: Wasi,
    root: Descriptor | None = None,
    log_extra: Mapping[str, object] = NOBODY,
) -> Process:
    """The same as `open_process`, but a directory that may block is opened in a thread.

    ``root`` is the first directory that the guest finds, before those of ``wasi``.

    Raises:
        OSError: a preopened directory is gone, or was replaced.
        TooManyAbandoned: (``EAGAIN``) too many calls on a device were cancelled and still block.
    """
    opened: list[int] = []
    try:
        for preopen in wasi.preopens.values():
            if preopen.may_wait:
                calls = calls_of(preopen.identity.device)
                opened.append(await calls.run(_open, preopen, discard=os.close))
            else:
                opened.append(_open(preopen))
        # If the instance was closed after the last directory was opened, its call is cancelled.
        await trio.lowlevel.checkpoint_if_cancelled()
    except BaseException:
        close_in_thread(_close, opened)
        raise
    return Process(wasi, opened, root, log_extra)


@final
class Process:
    """The WASI state of an instance, created at its first WASI call and closed with it.

    Args:
        wasi: what the guest can access.
        opened: a descriptor for each of ``wasi.preopens``, owned by the process from now on.
        root: a directory before them. Some guests resolve relative paths from the first one.
        log_extra: attributes of the log records of its output.
    """

    __slots__ = (
        "_closed", "_lock", "_may_wait", "_offloaded", "_open_lines", "_preopened", "args",
        "descriptors", "dropped", "env", "http",
    )  # fmt: skip

    # Invariant: while `_offloaded`, a thread uses the files, and closes them if `_closed`.

    def __init__(
        self,
        wasi: Wasi,
        opened: Sequence[int],
        root: Descriptor | None = None,
        log_extra: Mapping[str, object] = NOBODY,
    ) -> None:
        self.args = [as_bytes(arg) + b"\0" for arg in wasi.args]
        self.env = [as_bytes(f"{name}={value}") + b"\0" for name, value in wasi.env.items()]
        self._open_lines: list[LineLog] = []
        self.descriptors = Descriptors()
        self.descriptors.put(0, Input(wasi.stdin))
        self.descriptors.put(1, self._output(wasi.stdout, "stdout", logging.INFO, log_extra))
        self.descriptors.put(2, self._output(wasi.stderr, "stderr", logging.WARNING, log_extra))
        if root is not None:
            self.descriptors.add(root)
        for fd, (guest_path, preopen) in zip(opened, wasi.preopens.items(), strict=True):
            self.descriptors.add(DiskDirectory(fd, preopen, guest_path=as_bytes(guest_path)))
        self._preopened = tuple(wasi.preopens)
        self._may_wait = any(preopen.may_wait for preopen in wasi.preopens.values())
        self.dropped: list[int] = []
        """Descriptors that the guest has dropped, and that are to be closed in a thread."""
        self.http: Any = None
        """What the HTTP of a component takes (`_wasi_p2.http_memory`); None before it uses any."""
        self._lock = threading.Lock()
        self._offloaded = False
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """True once its descriptors are closed, or are about to be."""
        return self._closed

    @property
    def may_wait(self) -> bool:
        """True if a directory of it lies where an operation may block."""
        return self._may_wait

    def why_unlike_new(self) -> str | None:
        """Return what the guest has done that a new process would not have; None if nothing."""
        return why_unlike_new(self.descriptors, self._preopened)

    def check_open(self) -> None:
        """Raise ``CANCELED`` if the guest is gone: an offloaded function must do nothing then."""
        if self._closed:
            raise WasiError(Errno.CANCELED)

    def require_thread(self, descriptor: Descriptor) -> None:
        """Make a WASI function run in a thread; it must call this before it acts.

        Raises:
            NeedsThread: it does not run in a thread. The function is then called again in one.
        """
        if not self._offloaded and descriptor.device is not None:
            raise NeedsThread(descriptor.device)

    def begin_offloaded(self) -> bool:
        """Reserve the files for this thread; return False if they are closed."""
        with self._lock:
            self._offloaded = not self._closed
            return self._offloaded

    def end_offloaded(self) -> None:
        """Release the files at the end of the thread; close them if the process was closed."""
        with self._lock:
            self._offloaded = False
            closed = self._closed
        if closed:
            self.descriptors.close_all()

    def drop(self, fd: int) -> None:
        """Close a descriptor, or leave it in `dropped` where that may block.

        It counts until it is closed, so a guest cannot leave any number of them.
        """
        if self._closed:
            return
        descriptor = self.descriptors.get(fd)
        if descriptor.may_wait or descriptor.close_frees_large_file():
            self.dropped.append(fd)
        else:
            self.descriptors.close(fd)

    def _output(self, sink: Sink, name: str, level: int, log_extra: Mapping[str, object]) -> Output:
        if sink == "log":
            logger = logging.getLogger(f"wasmpool.guest.{name}")
            return Output(LineLog(logger, level, self._open_lines, log_extra))
        return Output(sink)

    def end_output(self) -> None:
        """Log all incomplete lines: further output belongs to another caller."""
        while self._open_lines:
            self._open_lines[0].close()

    def close(self) -> None:
        """Close all descriptors, and log the last lines of output.

        Files that may block, or that are large and removed, are closed in a thread, without waiting
        for it.
        """
        with self._lock:
            self._closed = True
            offloaded = self._offloaded
        if not offloaded and not (self._may_wait or self.descriptors.close_frees_large_file()):
            self.descriptors.close_all()
            return
        try:
            self.descriptors.close_streams()
        finally:
            if not offloaded:
                close_in_thread(self.descriptors.close_all)


def _open(preopen: Preopen) -> int:
    return open_identified(preopen.path, preopen.identity)


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
