"""A component in Python: what a program does with files, time, random numbers and the network."""

import os
import socket
import sys
import time
from pathlib import Path

from componentize_py_types import Err
from wit_world import exports


def _why(error: OSError) -> Err:
    return Err(f"{type(error).__name__}: {error.strerror}")


class Work(exports.Work):
    """The functions of the interface ``work``."""

    def greet(self, name: str) -> str:
        print(f"greeting {name}")
        return f"hello, {name}"

    def read_text(self, path: str) -> str:
        try:
            return Path(path).read_text()
        except OSError as error:
            raise _why(error) from error

    def write_text(self, path: str, text: str) -> None:
        try:
            Path(path).write_text(text)
        except OSError as error:
            raise _why(error) from error

    def names(self, path: str) -> list[str]:
        return sorted(each.name for each in Path(path).iterdir())

    def environment(self, name: str) -> str | None:
        return os.environ.get(name)

    def nap(self, seconds: float) -> float:
        began = time.monotonic()
        time.sleep(seconds)
        return time.monotonic() - began

    def clock(self) -> float:
        return time.time()

    def random(self, size: int) -> bytes:
        return os.urandom(size)

    def connect(self, host: str, port: int) -> None:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream:
                stream.connect((host, port))
        except OSError as error:
            raise _why(error) from error


class Run(exports.Run):
    """The program: it copies its input in capitals, and fails where there is none."""

    def run(self) -> None:
        text = sys.stdin.read()
        if not text:
            print("no input", file=sys.stderr)
            raise Err(None)
        sys.stdout.write(text.upper())
        sys.stdout.flush()
