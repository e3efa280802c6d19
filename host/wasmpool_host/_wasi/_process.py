"""What one instance sees as its process: arguments, environment and open descriptors."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, final

from ._config import as_bytes
from ._descriptors import Descriptors, Input, Output
from ._files import Directory
from ._output import LineLog

if TYPE_CHECKING:
    from ._config import Preopen, Sink, Wasi

__all__ = ["Process"]


@final
class Process:
    """Begun by the first WASI call of an instance, closed with the instance.

    Raises:
        OSError: a preopened directory that is no longer there.
    """

    __slots__ = ("_open_lines", "args", "descriptors", "env")

    def __init__(self, wasi: Wasi) -> None:
        self.args = [as_bytes(arg) + b"\0" for arg in wasi.args]
        self.env = [as_bytes(f"{name}={value}") + b"\0" for name, value in wasi.env.items()]
        self._open_lines: list[LineLog] = []
        self.descriptors = Descriptors()
        self.descriptors.put(0, Input(wasi.stdin))
        self.descriptors.put(1, self._output(wasi.stdout, "stdout", logging.INFO))
        self.descriptors.put(2, self._output(wasi.stderr, "stderr", logging.WARNING))
        try:
            for guest_path, preopen in wasi.preopens.items():
                self.descriptors.add(_preopened(guest_path, preopen))
        except BaseException:
            self.close()
            raise

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
        """Close what is open; the last lines of output are shown."""
        self.descriptors.close_all()


def _preopened(guest_path: str, preopen: Preopen) -> Directory:
    # O_RDONLY, not O_PATH: it must be possible to list it. Followed: the path is the embedder's.
    fd = os.open(preopen.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return Directory(fd, preopen, guest_path=as_bytes(guest_path))
