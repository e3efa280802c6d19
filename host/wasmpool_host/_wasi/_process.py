"""What one instance sees as its process: arguments, environment and open descriptors."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, final

from ._config import as_bytes
from ._descriptors import Descriptors, Input, Output
from ._files import Directory
from ._fixed import open_fixed
from ._output import LineLog

if TYPE_CHECKING:
    from ._config import Preopen, Sink, Wasi

__all__ = ["Process"]


@final
class Process:
    """Begun by the first WASI call of an instance, closed with the instance.

    Raises:
        OSError: a preopened directory is gone, or was replaced.
    """

    __slots__ = ("args", "descriptors", "env")

    def __init__(self, wasi: Wasi) -> None:
        self.args = [as_bytes(arg) + b"\0" for arg in wasi.args]
        self.env = [as_bytes(f"{name}={value}") + b"\0" for name, value in wasi.env.items()]
        self.descriptors = Descriptors()
        self.descriptors.put(0, Input(wasi.stdin))
        self.descriptors.put(1, _output(wasi.stdout, "wasmpool.guest.stdout", logging.INFO))
        self.descriptors.put(2, _output(wasi.stderr, "wasmpool.guest.stderr", logging.WARNING))
        try:
            for guest_path, preopen in wasi.preopens.items():
                self.descriptors.add(_preopened(guest_path, preopen))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close what is open; the last lines of output are shown."""
        self.descriptors.close_all()


def _output(sink: Sink, logger: str, level: int) -> Output:
    if sink == "log":
        return Output(LineLog(logging.getLogger(logger), level))
    return Output(sink)


def _preopened(guest_path: str, preopen: Preopen) -> Directory:
    fd = open_fixed(preopen.path, preopen.fixed)
    return Directory(fd, preopen, guest_path=as_bytes(guest_path))
