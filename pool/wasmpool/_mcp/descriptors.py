"""Streams over the descriptors of the standard streams: pipes, sockets, terminals and files.

The usual way, non-blocking descriptors, does not do here: the flag belongs to the open file, which
other processes may share, such as the shell in the same terminal, and regular files cannot be
waited for. A thread that reads cannot be stopped, so it would outlive its block. So these streams
wait until a descriptor is ready, and then read what there is, or write no more than fits. A
terminal does not say how much fits, so it is opened once more, with the flag for this alone.

While they are open, nothing else in the process reads from the input or writes to the output: the
descriptors 0 and 1 lead elsewhere, and the streams have copies of what they were.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import sys
from typing import TYPE_CHECKING, Final, final

import trio

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["DescriptorReader", "DescriptorWriter", "claim_standard_streams", "open_writer"]

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_CHUNK: Final = 64 << 10
"""Bytes of a read: the capacity of a pipe on Linux."""
_FITS: Final = select.PIPE_BUF
"""Bytes that a pipe or a socket takes at once when it is ready for writing."""


@contextlib.contextmanager
def claim_standard_streams() -> Generator[tuple[DescriptorReader, DescriptorWriter]]:
    """Have the standard input and output for the length of the block.

    Whatever else reads from the input finds its end, and what writes to the output writes to
    standard error.

    Raises:
        OSError: one of them is closed.
    """
    with contextlib.ExitStack() as stack:
        _flush()
        stdin = stack.enter_context(_claimed(_STDIN, os.O_RDONLY))
        stdout = stack.enter_context(_claimed(_STDOUT, os.O_WRONLY))
        stack.callback(_flush)  # to standard error what has been printed in between
        yield DescriptorReader(stdin), stack.enter_context(open_writer(stdout))


@contextlib.contextmanager
def _claimed(descriptor: int, mode: int) -> Generator[int]:
    """A copy of a standard stream, which leads elsewhere for the length of the block."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _STDERR + 1)
    try:
        elsewhere = _elsewhere(mode)
        os.dup2(elsewhere, descriptor)
        os.close(elsewhere)
        yield copy
    finally:
        os.dup2(copy, descriptor)
        os.close(copy)


@contextlib.contextmanager
def open_writer(descriptor: int) -> Generator[DescriptorWriter]:
    """A writer for a descriptor, which stays as it is."""
    if not os.isatty(descriptor):
        yield DescriptorWriter(descriptor)
        return
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    own = os.open(os.ttyname(descriptor), flags)
    try:
        yield DescriptorWriter(own)
    finally:
        os.close(own)


def _flush() -> None:
    """Write what Python has in its buffer for standard output."""
    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()


def _elsewhere(mode: int) -> int:
    if mode == os.O_WRONLY:
        with contextlib.suppress(OSError):  # standard error is closed
            return os.dup(_STDERR)
    return os.open(os.devnull, mode)


@final
class DescriptorReader:
    """Reads from a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: Final = descriptor
        self._can_wait: Final = _can_wait(descriptor)

    async def receive_some(self) -> bytes:
        """Wait for the next bytes; ``b""`` at the end. A cancel loses none."""
        while True:
            await self._until_ready()
            try:
                return os.read(self._descriptor, _CHUNK)
            except BlockingIOError:  # non-blocking by another process, and read by it
                continue
            except OSError as error:
                if error.errno == errno.EIO:  # a terminal that has hung up
                    return b""
                raise

    async def _until_ready(self) -> None:
        if self._can_wait:
            await trio.lowlevel.wait_readable(self._descriptor)
        else:
            await trio.lowlevel.checkpoint()


@final
class DescriptorWriter:
    """Writes to a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: Final = descriptor
        self._can_wait: Final = _can_wait(descriptor)

    async def send_all(self, data: bytes) -> None:
        """Write all of some bytes; a cancel may leave a part of them unwritten.

        Raises:
            trio.BrokenResourceError: nobody reads them.
        """
        rest = memoryview(data)
        while rest:
            if self._can_wait:
                await trio.lowlevel.wait_writable(self._descriptor)
            else:
                await trio.lowlevel.checkpoint()
            try:
                rest = rest[os.write(self._descriptor, rest[:_FITS]) :]
            except BlockingIOError:  # a terminal that takes less
                await trio.lowlevel.checkpoint()
            except OSError as error:
                raise trio.BrokenResourceError(error.strerror) from error

    async def wait_until_broken(self) -> None:
        """Wait until nobody can read any more what is written; for ever with a file."""
        if not self._can_wait:
            await trio.sleep_forever()
        with select.epoll() as errors:
            errors.register(self._descriptor, 0)  # errors and hang-ups are always reported
            await trio.lowlevel.wait_readable(errors.fileno())


def _can_wait(descriptor: int) -> bool:
    """Return False for a file: it is always ready."""
    with select.epoll() as probe:
        try:
            probe.register(descriptor, 0)
        except PermissionError:
            return False
    return True
