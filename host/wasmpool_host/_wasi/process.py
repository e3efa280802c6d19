"""What one instance sees as its process: arguments, environment and open descriptors."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, final

import trio

from .apart import calls_of, run_later
from .config import as_bytes
from .descriptors import Descriptors, Input, Output
from .errno import Errno, TakesLong, WasiError
from .files import Directory
from .fixed import open_fixed
from .output import LineLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .config import Preopen, Sink, Wasi
    from .descriptors import Descriptor

__all__ = ["Process", "begin", "begin_apart"]


def begin(wasi: Wasi) -> Process:
    """Open what a process needs.

    Raises:
        OSError: a preopened directory is gone, or was replaced.
    """
    opened: list[int] = []
    try:
        for preopen in wasi.preopens.values():
            opened.append(_open(preopen))  # noqa: PERF401 - those before a failure are closed
    except BaseException:
        _close(opened)
        raise
    return Process(wasi, opened)


async def begin_apart(wasi: Wasi) -> Process:
    """As `begin`; a directory that may keep it waiting is opened in a thread.

    Raises:
        TooManyAbandoned: (``EAGAIN``) too many calls on its device were cancelled and still wait.
    """
    opened: list[int] = []
    try:
        for preopen in wasi.preopens.values():
            if preopen.may_wait:
                calls = calls_of(preopen.fixed.device)
                opened.append(await calls.run(_open, preopen, dropped=os.close))
            else:
                opened.append(_open(preopen))
        # The instance may have been closed since the last one was opened: then it is cancelled.
        await trio.lowlevel.checkpoint_if_cancelled()
    except BaseException:
        run_later(_close, opened)
        raise
    return Process(wasi, opened)


@final
class Process:
    """Begun by the first WASI call of an instance, closed with the instance.

    Args:
        wasi: what it is given.
        opened: a descriptor for each of ``wasi.preopens``; they are the process's from now on.
    """

    __slots__ = (
        "_apart", "_closed", "_lock", "_may_wait", "_open_lines", "args", "descriptors", "env",
    )  # fmt: skip

    # Invariant: while _apart, a thread uses the files, and closes them if _closed.

    def __init__(self, wasi: Wasi, opened: Sequence[int]) -> None:
        self.args = [as_bytes(arg) + b"\0" for arg in wasi.args]
        self.env = [as_bytes(f"{name}={value}") + b"\0" for name, value in wasi.env.items()]
        self._open_lines: list[LineLog] = []
        self.descriptors = Descriptors()
        self.descriptors.put(0, Input(wasi.stdin))
        self.descriptors.put(1, self._output(wasi.stdout, "stdout", logging.INFO))
        self.descriptors.put(2, self._output(wasi.stderr, "stderr", logging.WARNING))
        for fd, (guest_path, preopen) in zip(opened, wasi.preopens.items(), strict=True):
            self.descriptors.add(Directory(fd, preopen, guest_path=as_bytes(guest_path)))
        self._may_wait = any(preopen.may_wait for preopen in wasi.preopens.values())
        self._lock = threading.Lock()
        self._apart = False
        self._closed = False

    def check(self) -> None:
        """Raise ``CANCELED`` if the guest is gone: before what a late thread must not do."""
        if self._closed:
            raise WasiError(Errno.CANCELED)

    def leave_loop(self, descriptor: Descriptor) -> None:
        """Before a function does what may take long to a file: have it called again in a thread.

        Raises:
            TakesLong: it is not in one.
        """
        if not self._apart and descriptor.device is not None:
            raise TakesLong(descriptor.device)

    def begin_apart(self) -> bool:
        """In a thread: use the files, unless they are closed."""
        with self._lock:
            self._apart = not self._closed
            return self._apart

    def end_apart(self) -> None:
        """In the thread, at its end."""
        with self._lock:
            self._apart = False
            closed = self._closed
        if closed:
            self.descriptors.close_all()

    def _output(self, sink: Sink, name: str, level: int) -> Output:
        if sink == "log":
            logger = logging.getLogger(f"wasmpool.guest.{name}")
            return Output(LineLog(logger, level, self._open_lines))
        return Output(sink)

    def end_output(self) -> None:
        """Show the rest of each line that has no end: what comes now is another caller's."""
        while self._open_lines:
            self._open_lines[0].close()

    def close(self) -> None:
        """Close what is open; the last lines of output are shown.

        Files that may wait, or are large and removed, are closed in a thread, which nobody waits
        for.
        """
        with self._lock:
            self._closed = True
            apart = self._apart
        if not apart and not (self._may_wait or self.descriptors.end_large_files()):
            self.descriptors.close_all()
            return
        try:
            self.descriptors.close_streams()
        finally:
            if not apart:
                run_later(self.descriptors.close_all)


def _open(preopen: Preopen) -> int:
    return open_fixed(preopen.path, preopen.fixed)


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
