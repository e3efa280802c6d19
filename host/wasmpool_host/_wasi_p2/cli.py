"""``wasi:cli``: arguments, environment, exit, and the standard streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, final

from wasmpool_host._errors import GuestExit
from wasmpool_host._wasi.layout import FileType
from wasmpool_host._wit_values import Ok

from .resource import Resource
from .streams import STDERR, STDIN, STDOUT, StandardInput, StandardOutput

if TYPE_CHECKING:
    from wasmpool_host._wasi.process import Process
    from wasmpool_host._wit_values import Err

__all__ = [
    "exit_program",
    "exit_with_code",
    "get_arguments",
    "get_environment",
    "get_stderr",
    "get_stdin",
    "get_stdout",
    "get_terminal_stderr",
    "get_terminal_stdin",
    "get_terminal_stdout",
    "initial_cwd",
]


@final
class Terminal(Resource):
    """``terminal-input`` or ``terminal-output``: the stream is a terminal, and no more."""

    __slots__ = ()


def get_environment(process: Process) -> list[tuple[str, str]]:
    """The environment, in its order."""
    found = []
    for each in process.env:
        name, _, value = each[:-1].decode().partition("=")
        found.append((name, value))
    return found


def get_arguments(process: Process) -> list[str]:
    """The arguments, the program's own name first."""
    return [each[:-1].decode() for each in process.args]


def initial_cwd(_process: Process) -> None:
    """There is none: paths begin at preopened directories."""
    return


def exit_program(_process: Process, status: Ok | Err) -> NoReturn:
    """End the guest.

    Raises:
        GuestExit: always; 0 for ``ok``, 1 for ``err``.
    """
    raise GuestExit(0 if isinstance(status, Ok) else 1)


def exit_with_code(_process: Process, status: int) -> NoReturn:
    """End the guest.

    Raises:
        GuestExit: always.
    """
    raise GuestExit(status)


def get_stdin(process: Process) -> StandardInput:
    """Standard input."""
    return StandardInput(process)


def get_stdout(process: Process) -> StandardOutput:
    """Standard output."""
    return StandardOutput(process, STDOUT)


def get_stderr(process: Process) -> StandardOutput:
    """Standard error."""
    return StandardOutput(process, STDERR)


def get_terminal_stdin(process: Process) -> Terminal | None:
    """A terminal if standard input is one."""
    return _terminal(process, STDIN)


def get_terminal_stdout(process: Process) -> Terminal | None:
    """A terminal, so that C libraries write each line when it ends; see `Output`."""
    return _terminal(process, STDOUT)


def get_terminal_stderr(process: Process) -> Terminal | None:
    """As `get_terminal_stdout`."""
    return _terminal(process, STDERR)


def _terminal(process: Process, fd: int) -> Terminal | None:
    is_terminal = process.descriptors.get(fd).filetype is FileType.CHARACTER_DEVICE
    return Terminal() if is_terminal else None
