"""What one instance sees as its process: arguments, environment and open descriptors."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, final

from wasmpool_host._wasi._descriptors import Descriptors, Input, Output
from wasmpool_host._wasi._files import Directory
from wasmpool_host._wasi._output import LineLog

if TYPE_CHECKING:
    from wasmpool_host._wasi._config import Preopen, Sink, Wasi

__all__ = ["Process"]


@final
class Process:
    """Begun by the first WASI call of an instance, closed with the instance.

    Raises:
        OSError: a preopened directory that is no longer there.
    """

    __slots__ = ("args", "descriptors", "env")

    def __init__(self, wasi: Wasi) -> None:
        self.args = [_text(arg) for arg in wasi.args]
        self.env = [_text(f"{name}={value}") for name, value in wasi.env.items()]
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


def _text(text: str) -> bytes:
    # surrogateescape: what os.environ or sys.argv brought along goes on as the bytes it was.
    return text.encode("utf-8", "surrogateescape") + b"\0"


def _output(sink: Sink, logger: str, level: int) -> Output:
    if sink == "log":
        return Output(LineLog(logging.getLogger(logger), level))
    return Output(sink)


def _preopened(guest_path: str, preopen: Preopen) -> Directory:
    # O_RDONLY, not O_PATH: it must be possible to list it. Followed: the path is the embedder's.
    fd = os.open(preopen.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return Directory(fd, preopen, guest_path=guest_path.encode("utf-8", "surrogateescape"))
