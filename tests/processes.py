"""Scripts in processes of their own that start quickly: forks of one that has made the imports.

A short script spends most of its time on imports. So for each set of the interpreter's options and
of imports one process imports what the scripts use, and makes a fork for each of them. The fork
runs the script as its main program, to the end of the interpreter. The packages were imported but
not used before the fork, so a script finds them as in a new process. Its standard streams were made
by the interpreter, too, before they were led elsewhere: what depends on a stream that is closed
from the start, or on an encoding, needs a process that is new.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["ForkedProcess", "forked", "run_script"]

_SERVER = """
import json, os, socket, sys
import {imports}

def next_script(requests):
    while True:
        message, files, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        if not message:
            sys.exit()
        child = os.fork()
        if not child:
            requests.close()
            for number, file in enumerate(files):
                os.dup2(file, number)
                os.close(file)
            for stream in (sys.stdout, sys.stderr):
                stream.reconfigure(line_buffering=stream is sys.stderr or stream.isatty())
            return json.loads(message)
        for file in files:
            os.close(file)
        requests.send(str(child).encode())
        requests.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())

_script, sys.argv[1:], _environment, _directory = next_script(
    socket.socket(fileno=int(sys.argv[1]))
)
os.environ.clear()
os.environ.update(_environment)
os.chdir(_directory)
exec(compile(_script, "<string>", "exec"))
"""

_IMPORTS: Final = "trio, trio.testing, wasmpool_host"


@final
class ForkedProcess:
    """A script that runs."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self.pid = int(requests.recv(64))
        self.returncode: int | None = None
        """As of `subprocess.Popen`; None while it runs, and until it is waited for."""

    def wait(self, timeout: float) -> int:
        """Return how it ended.

        Raises:
            TimeoutError: it takes longer than ``timeout`` seconds; it goes on.
        """
        if self.returncode is None:
            self._requests.settimeout(timeout)
            try:
                self.returncode = int(self._requests.recv(64))
            finally:
                self._requests.settimeout(None)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            self.send_signal(signal.SIGKILL)


@contextlib.contextmanager
def forked(
    script: str,
    *options: str,
    files: tuple[int, int, int],
    imports: str = _IMPORTS,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Iterator[ForkedProcess]:
    """Run a script with the interpreter's options, and arguments, streams and variables of its own.

    One at a time of the same options and imports; it is killed where the block ends before it.
    """
    requests = _server(options, imports)
    message = [script, list(args), dict(os.environ if env is None else env), str(Path.cwd())]
    socket.send_fds(requests, [json.dumps(message).encode()], files)
    process = ForkedProcess(requests)
    try:
        yield process
    finally:
        process.kill()
        process.wait(60)


def run_script(
    script: str, *options: str, args: Sequence[str] = (), timeout: float
) -> CompletedProcess[str]:
    """Run a script with the interpreter's options, and arguments of its own.

    Raises:
        TimeoutError: it took longer than ``timeout`` seconds, and was killed.
    """
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        open(os.devnull) as nothing,  # noqa: PTH123 - no Path of it
    ):
        files = (nothing.fileno(), out.fileno(), err.fileno())
        with forked(script, *options, files=files, args=args) as process:
            status = process.wait(timeout)
        out.seek(0)
        err.seek(0)
        return CompletedProcess(list(args), status, out.read(), err.read())


@functools.cache
def _server(options: tuple[str, ...], imports: str) -> socket.socket:
    """The socket of the process that makes the forks; it ends when the socket is closed."""
    # Each message arrives as a whole.
    requests, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    program = _SERVER.replace("{imports}", imports)
    with its_end:
        process = subprocess.Popen(
            [sys.executable, *options, "-c", program, str(its_end.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[its_end.fileno()],
        )

    def end() -> None:
        requests.close()
        process.wait()

    atexit.register(end)
    return requests
