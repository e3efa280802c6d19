"""One run of a program: its world is given when it begins, and its result is what it leaves.

The instance stands ready without this world. `run` puts it in the place of what a start function
may have been given, calls the export, and takes the instance out of service: a program runs once.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypedDict, final

import attrs
import outcome  # trio's own
import trio

from wasmpool_host._errors import GuestError, GuestExit
from wasmpool_host._escape import escaped
from wasmpool_host._wit_values import Err

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

__all__ = ["CAPTURE", "Capture", "Completed", "RunOptions", "World", "run"]

_LAST_LINES: Final = 10
_LAST_BYTES: Final = 2_000


class _CaptureType(Enum):
    CAPTURE = "CAPTURE"

    def __repr__(self) -> str:
        return self.value


CAPTURE: Final = _CaptureType.CAPTURE
"""For ``stdout`` and ``stderr`` of a run: the bytes are kept for its `Completed`."""


@final
class Capture:
    """Keeps the first bytes of a stream."""

    __slots__ = ("_kept", "_limit", "is_truncated")

    def __init__(self, limit: int) -> None:
        self._kept = bytearray()
        self._limit = limit
        self.is_truncated: bool = False

    def __call__(self, data: bytes) -> None:
        room = self._limit - len(self._kept)
        self._kept += data[:room]
        if len(data) > room:
            self.is_truncated = True

    def taken(self) -> bytes:
        """Return what was kept."""
        return bytes(self._kept)


@attrs.frozen(kw_only=True)
class Completed:
    """How a run of a program ended; see `Instance.run`."""

    args: tuple[str, ...]
    """The arguments that it was given, its own name first."""
    returncode: int
    """What it exited with: 0 if it returned, else the status of its ``proc_exit``."""
    stdout: bytes = b""
    """What it wrote there, if that was captured."""
    stderr: bytes = b""
    """What it wrote there, if that was captured."""
    truncated: frozenset[str] = frozenset()
    """Those of ``"stdout"`` and ``"stderr"`` that were longer than ``capture_limit``. ``"files"``
    if some are missing in `files`: their paths are longer than 4,096 characters, or those of all
    files together than ``files_limit``, which takes a program that is out to do so."""
    files: Mapping[str, bytes] = attrs.field(
        factory=dict[str, bytes], converter=MappingProxyType[str, bytes], repr=False
    )
    """The files of its tree that ``collect`` asked for, by their absolute paths."""

    def check_returncode(self) -> None:
        """Raise `GuestExit` if the return code is not 0."""
        if self.returncode:
            raise with_output(GuestExit(self.returncode), self.stdout, self.stderr)


class RunOptions(TypedDict, total=False):
    """The world of a run, by keyword; see `Instance.run`.

    Each is optional. Values are checked when the run begins.
    """

    stdin: Any
    """What the program reads from descriptor 0: bytes, a `trio.abc.ReceiveStream`, or an async
    iterable of bytes. Nothing by default. Reading waits in the calling task, and in an async
    iterable's case in a task of the run. It takes no more of a stream than the program asks for."""
    env: Mapping[str, str] | None
    """Its environment; None for the module's."""
    preopens: Mapping[str, Any] | None
    """Directories of the host by their guest paths, as of `Wasi`; None for the module's."""
    files: Mapping[str, bytes] | None
    """A tree of this run's own in ``/``, in memory: content by path. None for no tree."""
    collect: Iterable[str]
    """Patterns, as of ``pathlib``, of files whose content comes back in `Completed.files`."""
    stdout: Any
    """`CAPTURE`, ``"log"``, a plain function of bytes, a `trio.abc.SendStream`, whose slowness the
    guest feels, or None to drop it. Captured by default. Streams stay open. One that has a method
    ``isatty`` which returns True is a terminal to the program, as for ``stdin``."""
    stderr: Any
    """As ``stdout``."""
    capture_limit: int
    """Bytes that are kept of each captured stream, 1 MiB by default; the rest is dropped."""
    files_limit: int
    """Bytes that ``files`` may hold in all, 64 MiB by default, with their names. A guest that
    exceeds it gets ``ENOSPC``."""


class Collected(Protocol):
    """Files that a run has left."""

    @property
    def files(self) -> dict[str, bytes]:
        """Content by path."""
        ...

    @property
    def is_truncated(self) -> bool:
        """True if some are missing."""
        ...


class World(Protocol):
    """What one run is given, and what it leaves there."""

    log_extra: Mapping[str, object]
    """Attributes of the log records of its output."""

    @property
    def args(self) -> tuple[str, ...]:
        """The arguments."""
        ...

    @property
    def needs_task(self) -> bool:
        """True if `open` is to be given a nursery."""
        ...

    async def open(self, nursery: trio.Nursery | None = None) -> Any:
        """Open the process of the run; it is closed with the instance."""
        ...

    def captured(self, stream: str) -> Capture | None:
        """What captures ``"stdout"`` or ``"stderr"``, if anything does."""
        ...

    async def collect(self) -> Collected | None:
        """Return the files that were asked for. A cancel is not delivered here."""
        ...

    async def end(self) -> None:
        """Free what the run was given. A cancel is not delivered here."""
        ...


async def run(
    world: World, enter: Callable[[Any], None], call: Callable[[], Awaitable[Any]]
) -> Completed:
    """Run a program in its world.

    Args:
        world: what it is given.
        enter: takes the opened process, for the instance's WASI.
        call: calls the export.

    Raises what the call raises, but for `GuestExit`, which is a return code. The errors of a guest
    carry what was captured until then.
    """
    try:
        if not world.needs_task:
            return await _run(world, enter, call, None)
        return await _run_in_nursery(world, enter, call)
    finally:
        await world.end()


async def _run_in_nursery(
    world: World, enter: Callable[[Any], None], call: Callable[[], Awaitable[Any]]
) -> Completed:
    async with trio.open_nursery() as nursery:
        # Kept apart from the nursery, which would wrap an error in a group.
        ended = await outcome.acapture(_run, world, enter, call, nursery)
        nursery.cancel_scope.shield = True  # the program is done: no cancel may lose its result
        nursery.cancel_scope.cancel()
    try:
        return ended.unwrap()
    finally:
        del ended  # an error whose traceback holds itself would keep all that the run had


async def _run(
    world: World,
    enter: Callable[[Any], None],
    call: Callable[[], Awaitable[Any]],
    nursery: trio.Nursery | None,
) -> Completed:
    enter(await world.open(nursery))
    out, err = world.captured("stdout"), world.captured("stderr")
    try:
        returncode = _return_code(await call())
    except GuestExit as error:
        returncode = error.status
    except GuestError as error:
        raise with_output(error, _taken(out), _taken(err)) from error.__cause__
    collected = await world.collect()
    parts = {"stdout": out, "stderr": err, "files": collected}
    return Completed(
        args=world.args,
        returncode=returncode,
        stdout=_taken(out),
        stderr=_taken(err),
        truncated=frozenset(name for name, part in parts.items() if part and part.is_truncated),
        files=collected.files if collected else {},
    )


def _return_code(result: object) -> int:
    """What a program has returned: a number, or a ``result`` of a component, or nothing."""
    if isinstance(result, Err):
        return 1
    return result if isinstance(result, int) else 0


def _taken(capture: Capture | None) -> bytes:
    return b"" if capture is None else capture.taken()


def with_output(error: GuestError, stdout: bytes, stderr: bytes) -> GuestError:
    """Let an error carry what the guest has written; its last words are a note."""
    error.stdout, error.stderr = stdout, stderr
    lines = stderr[-_LAST_BYTES:].decode("utf-8", "backslashreplace").splitlines()[-_LAST_LINES:]
    if lines:
        last = "\n".join(f"  {escaped(line, tabs=True)}" for line in lines)
        error.add_note(f"the guest's stderr ended with\n{last}")
    return error
