"""``wasmpool serve`` as a process, with its log line by line."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, final

from tests.processes import ForkedProcess, forked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["SECONDS", "ServerProcess", "forked_server", "server_process"]

SECONDS: Final = 60
"""More than any of this takes on a slow machine; a hang, not slowness, fails a test."""

_COMMAND: Final = "from wasmpool.__main__ import main; main()"
_IMPORTS: Final = (
    "trio, wasmpool.mcp, wasmpool._cli.process, wasmpool._cli.serve_command,"
    " wasmpool._serve.single, wasmpool._serve.routes, h2, watchfiles, httpx2"
)


@final
class ServerProcess:
    """A server that runs.

    Attributes:
        pid: of the process.
        log: the lines that it has written to standard error.
        stdin: its standard input.
        stdout: its standard output.
    """

    def __init__(self, process: ForkedProcess | subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid: Final = process.pid
        self.log: Final[list[str]] = []
        self.stdin: IO[bytes]
        self.stdout: IO[bytes]
        self._more = threading.Condition()

    def read_log(self, stderr: IO[bytes]) -> None:
        for line in stderr:
            with self._more:
                self.log.append(line.decode().rstrip("\n"))
                self._more.notify_all()

    def logged(self, pattern: str, count: int = 1) -> re.Match[str]:
        """Wait until so many lines match, and return the last one."""

        def found() -> re.Match[str] | None:
            matches = [match for line in self.log if (match := re.search(pattern, line))]
            return matches[count - 1] if len(matches) >= count else None

        with self._more:
            if not self._more.wait_for(found, SECONDS):
                raise AssertionError(f"no {pattern!r} in:\n" + "\n".join(self.log))
            match = found()
        assert match is not None
        return match

    @property
    def address(self) -> str:
        """Where it listens, once its plugins have been tried; ``http://HOST:PORT``."""
        self.logged(r"serving \d+ tools? of")
        return self.logged(r"listening at (http://\S+)")[1]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end: its status."""
        return self._process.wait(SECONDS)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the status."""
        self.send_signal(number)
        return self.wait()


@contextlib.contextmanager
def forked_server(
    *args: str | Path,
    env: Mapping[str, str] | None = None,
    stderr: int | None = None,
    before: str = "",
) -> Iterator[ServerProcess]:
    """Run a server that starts quickly: see `tests.processes`; ``before`` is a script before it."""
    with _pipes() as (ends, ours):
        forking = forked(
            f"{before}\n{_COMMAND}",
            files=(*ends[:2], ends[2] if stderr is None else stderr),
            imports=_IMPORTS,
            args=["serve", *map(str, args)],
            env={**os.environ, **(env or {})},
        )
        with forking as process, _watched(ServerProcess(process), ends, ours) as server:
            yield server


@contextlib.contextmanager
def server_process(
    *args: str | Path, env: Mapping[str, str] | None = None
) -> Iterator[ServerProcess]:
    """Run a server in a new interpreter."""
    with _pipes() as (ends, ours):
        process = subprocess.Popen(
            [sys.executable, "-m", "wasmpool", "serve", *map(str, args)],
            stdin=ends[0],
            stdout=ends[1],
            stderr=ends[2],
            env={**os.environ, **(env or {})},
        )
        try:
            with _watched(ServerProcess(process), ends, ours) as server:
                yield server
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _pipes() -> Iterator[tuple[tuple[int, int, int], tuple[IO[bytes], IO[bytes], IO[bytes]]]]:
    stdin, stdout, stderr = os.pipe(), os.pipe(), os.pipe()
    with (
        open(stdin[1], "wb", buffering=0) as to_it,  # noqa: PTH123 - a descriptor
        open(stdout[0], "rb", buffering=0) as from_it,  # noqa: PTH123 - a descriptor
        open(stderr[0], "rb") as log,  # noqa: PTH123 - a descriptor
    ):
        yield (stdin[0], stdout[1], stderr[1]), (to_it, from_it, log)


@contextlib.contextmanager
def _watched(
    server: ServerProcess,
    ends: tuple[int, int, int],
    ours: tuple[IO[bytes], IO[bytes], IO[bytes]],
) -> Iterator[ServerProcess]:
    for each in ends:
        os.close(each)  # it has them now
    server.stdin, server.stdout, log = ours
    reading = threading.Thread(target=server.read_log, args=(log,))
    reading.start()
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGKILL)
        reading.join()


def wait_until_gone(pid: int) -> None:
    """Wait until a process that is no child of this one has ended."""
    deadline = time.monotonic() + SECONDS
    while _is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} goes on"
        time.sleep(0.01)


def _is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
        return status.rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
