"""Scripts in processes of their own that start quickly: forks of one that has made the imports.

A short script spends most of its time on imports. So for each set of the interpreter's options one
process imports what the scripts use, and makes a fork for each of them. The fork runs the script as
its main program, to the end of the interpreter. The packages were imported but not used before the
fork, so a script finds them as in a new process.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["run_script"]

_SERVER = """
import json, os, socket, sys
import trio, trio.testing, wasmpool_host

def next_script(requests):
    while True:
        message, files, _, _ = socket.recv_fds(requests, 1 << 20, 2)
        if not message:
            sys.exit()
        child = os.fork()
        if not child:
            requests.close()
            for number, file in zip((1, 2), files, strict=True):
                os.dup2(file, number)
                os.close(file)
            return json.loads(message)
        for file in files:
            os.close(file)
        requests.send(str(child).encode())
        requests.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())

_script, sys.argv[1:] = next_script(socket.socket(fileno=int(sys.argv[1])))
exec(compile(_script, "<string>", "exec"))
"""


def run_script(
    script: str, *options: str, args: Sequence[str] = (), timeout: float
) -> CompletedProcess[str]:
    """Run a script with the interpreter's options, and arguments of its own.

    Raises:
        TimeoutError: it took longer than ``timeout`` seconds, and was killed.
    """
    requests = _server(options)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        message = json.dumps([script, list(args)]).encode()
        socket.send_fds(requests, [message], [out.fileno(), err.fileno()])
        child = int(requests.recv(64))
        requests.settimeout(timeout)
        try:
            status = int(requests.recv(64))
        except TimeoutError:
            os.kill(child, signal.SIGKILL)
            requests.settimeout(None)
            requests.recv(64)
            raise
        finally:
            requests.settimeout(None)
        out.seek(0)
        err.seek(0)
        return CompletedProcess(list(args), status, out.read(), err.read())


@functools.cache
def _server(options: tuple[str, ...]) -> socket.socket:
    """The socket of the process that makes the forks; it ends when the socket is closed."""
    # Each message arrives as a whole.
    requests, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its_end:
        process = subprocess.Popen(
            [sys.executable, *options, "-c", _SERVER, str(its_end.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[its_end.fileno()],
        )

    def end() -> None:
        requests.close()
        process.wait()

    atexit.register(end)
    return requests
