"""The command as a process of its own, which starts quickly: see `tests.processes`.

What depends on how an interpreter starts has a new one in the tests: streams that are closed,
encodings, and what is or is not imported.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from subprocess import CompletedProcess
from typing import IO, TYPE_CHECKING, Final, final

from tests.processes import ForkedProcess, forked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["COMMAND", "SECONDS", "Started", "run_in_fork", "started"]

COMMAND: Final = "from wasmpool.__main__ import main; main()"
"""What ``python -m wasmpool`` runs."""

IMPORTS: Final = (
    "trio, wasmpool._cli.inspect_command, wasmpool._cli.process, wasmpool._cli.run_command"
)

SECONDS: Final = 60
"""More than any of this takes on a slow machine; a hang, not slowness, fails a test."""


@final
class Started:
    """The command while it runs, with pipes where no stream of its own was given."""

    def __init__(self, process: ForkedProcess, ends: list[IO[bytes]]) -> None:
        self._process = process
        self.stdin, self.stdout, self.stderr = ends

    def send(self, lines: bytes) -> None:
        self.stdin.write(lines)
        self.stdin.flush()

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end: its status."""
        return self._process.wait(SECONDS)

    def ended(self) -> tuple[int, bytes, bytes]:
        """End its input, and wait for its end: its status, and what else came out of it."""
        self.stdin.close()
        out = b"" if self.stdout.closed else self.stdout.read()
        status = self.wait()
        self.stderr.seek(0)
        return status, out, self.stderr.read()


@contextlib.contextmanager
def started(
    *args: str | Path,
    script: str = COMMAND,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Started]:
    """Start the command, with these descriptors and more variables; it is killed at the end."""
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(tempfile.TemporaryFile())
        to_it, from_it = os.pipe(), os.pipe()
        ends: list[IO[bytes]] = [
            stack.enter_context(open(to_it[1], "wb")),  # noqa: PTH123 - a descriptor
            stack.enter_context(open(from_it[0], "rb")),  # noqa: PTH123 - a descriptor
            kept,
        ]
        files = (
            to_it[0] if stdin is None else stdin,
            from_it[1] if stdout is None else stdout,
            kept.fileno() if stderr is None else stderr,
        )
        process = stack.enter_context(
            forked(
                script,
                *("-W", "error"),
                files=files,
                imports=IMPORTS,
                args=[str(arg) for arg in args],
                env={**os.environ, **(env or {})},
            )
        )
        os.close(to_it[0])  # it has them now
        os.close(from_it[1])
        hang = threading.Timer(SECONDS, process.kill)
        hang.start()
        try:
            yield Started(process, ends)
        finally:
            hang.cancel()


def run_in_fork(
    *args: str | Path,
    script: str = COMMAND,
    stdout: int | None = None,
    stderr: int | None = None,
) -> CompletedProcess[str]:
    """Run the command with an empty input to its end."""
    arguments = [str(arg) for arg in args]
    with started(*arguments, script=script, stdout=stdout, stderr=stderr) as process:
        status, out, err = process.ended()
    return CompletedProcess(arguments, status, out.decode(), err.decode())
