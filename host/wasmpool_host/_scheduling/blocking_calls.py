"""Calls that may block for a long time, in threads with a limit for each kind of call.

Trio's default limiter has 40 tokens for the whole program. A call that blocks forever (a resolver
that does not answer, a file system whose server is gone, a pipe without a writer) keeps its token
forever, even if its task was cancelled. After forty such calls, nothing in the program gets a
thread. So each kind of these calls has a limiter of its own, and:

- A cancelled task continues at once. Its thread cannot be stopped, so the call is *abandoned*: it
  returns its token, and is counted until its thread ends.
- While `max_abandoned` calls are still running, the next call fails at once with
  `TooManyAbandoned`, instead of starting one more thread that may never end.

Rejected: an abandoned call keeps its token until its thread ends (trio's default). Once the last
token is taken, every further call of this kind would wait without an error.
"""

from __future__ import annotations

import errno
import logging
import math
import threading
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Generic, TypeVar, TypeVarTuple, final

import trio
from trio.lowlevel import RunVar, enable_ki_protection

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BlockingCalls", "TooManyAbandoned"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_log = logging.getLogger("wasmpool.blocking")


class TooManyAbandoned(BlockingIOError):
    """Too many calls of one kind were cancelled and still block, so no more are started."""

    def __init__(self, name: str, abandoned: int) -> None:
        super().__init__(
            errno.EAGAIN,
            f"{abandoned} {name} were cancelled and still block their threads: no more are started"
            " until one of them ends",
        )


class _State(Enum):
    """The progress of one call."""

    NEW = auto()
    """Its thread has not started it yet."""
    RUNNING = auto()
    """It runs in its thread; the task waits."""
    ENDED = auto()
    """The thread is done. The task takes the result."""
    ABANDONED = auto()
    """The task was cancelled. The thread discards the result."""


@final
class _Call(Generic[T]):
    """One call, shared by its task and its thread; `BlockingCalls._lock` guards it."""

    __slots__ = ("result", "state")

    # Invariant: an ABANDONED call that was RUNNING is counted until its thread ends.

    def __init__(self) -> None:
        self.state = _State.NEW
        self.result: list[T] = []
        """Empty if ``fn`` has not returned yet, or has raised."""


@final
class BlockingCalls:
    """The calls of one kind: how many may run at a time, and how many may be abandoned.

    Create one for each resource that can stop answering independently (a server, a disk): calls
    that block on one resource do not use the threads of another. It may be used in any trio run,
    from any thread.

    Args:
        name: what the calls are, in the plural, for messages: ``"look-ups of host names"``.
        limit: how many run at a time in one trio run; further calls wait in the order they came.
        max_abandoned: how many cancelled calls may still be running, in the whole process.
    """

    def __init__(self, name: str, *, limit: int = 40, max_abandoned: int = 32) -> None:
        self.name: Final = name
        self.limit: Final = limit
        self.max_abandoned: Final = max_abandoned
        self._limiter_of_run: RunVar[trio.CapacityLimiter] = RunVar(name)
        self._lock = threading.Lock()
        self._abandoned = 0

    @property
    def abandoned(self) -> int:
        """How many cancelled calls still run."""
        return self._abandoned

    @enable_ki_protection
    async def run(
        self,
        fn: Callable[[*Ts], T],
        *args: *Ts,
        discard: Callable[[T], object] | None = None,
    ) -> T:
        """Call ``fn(*args)`` in a thread; return its result or raise its exception.

        Args:
            fn: a function that may block. It must not use anything that ends with the calling task.
            args: its arguments.
            discard: is called with the result if the task was cancelled meanwhile, for example to
                close a file; usually in the thread. Without it, such a result is ignored.

        Raises:
            TooManyAbandoned: (an `OSError` with ``EAGAIN``) at once, without calling ``fn``.

        This is a checkpoint. A cancel returns at once; ``fn`` then never starts, or continues in
        its thread.
        """
        self._check()
        async with self._limiter():
            self._check()
            call = _Call[T]()
            try:
                await trio.to_thread.run_sync(
                    self._work, call, fn, args, discard,
                    abandon_on_cancel=True, limiter=trio.CapacityLimiter(math.inf),
                )  # fmt: skip
            except BaseException:
                self._abandon(call, discard)
                raise
            return call.result.pop()

    def _check(self) -> None:
        if self._abandoned >= self.max_abandoned:
            raise TooManyAbandoned(self.name, self._abandoned)

    def _limiter(self) -> trio.CapacityLimiter:
        try:
            return self._limiter_of_run.get()
        except LookupError:
            limiter = trio.CapacityLimiter(self.limit)
            self._limiter_of_run.set(limiter)
            return limiter

    def _work(
        self,
        call: _Call[T],
        fn: Callable[..., T],
        args: tuple[object, ...],
        discard: Callable[[T], object] | None,
    ) -> None:
        """Run the call. On the call's thread."""
        with self._lock:
            if call.state is _State.ABANDONED:
                return
            call.state = _State.RUNNING
        try:
            call.result.append(fn(*args))
            if self._end(call) and discard is not None:
                discard(call.result.pop())  # the call is still counted: this may block, too
        finally:
            if self._end(call):
                with self._lock:
                    self._abandoned -= 1

    def _end(self, call: _Call[T]) -> bool:
        """Return True if the call was abandoned; otherwise mark it as ended. On its thread.

        An ended call cannot be abandoned any more.
        """
        with self._lock:
            if call.state is _State.RUNNING:
                call.state = _State.ENDED
            return call.state is _State.ABANDONED

    def _abandon(self, call: _Call[T], discard: Callable[[T], object] | None) -> None:
        """In the task, after a cancel. If ``fn`` has raised, there is nothing to do here."""
        with self._lock:
            ended = call.state is _State.ENDED
            if not ended:
                self._abandoned += call.state is _State.RUNNING
                call.state = _State.ABANDONED
            full = not ended and self._abandoned == self.max_abandoned
        if full:
            _log.warning("%s", TooManyAbandoned(self.name, self.max_abandoned).strerror)
        if ended and call.result and discard is not None:
            discard(call.result.pop())
