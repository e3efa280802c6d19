"""Calls that may block for long, in threads of their own kind.

Trio's default limiter has 40 places for all of a program. A call that blocks for ever (a resolver
that is silent, a file system whose server is gone, a pipe without a writer) keeps its place for
ever, even if its task was cancelled: forty of them, and nothing in the program gets a thread any
more. So each kind of such calls has places of its own, and:

- A cancelled task is free at once. Its thread cannot be stopped, so it is *abandoned*: it gives its
  place back, and is counted until it ends.
- Where `max_abandoned` are still running, the next call fails at once, with `TooManyAbandoned`,
  instead of adding another thread that will not come back.

Rejected: to let an abandoned thread keep its place (what trio does). The kind would be dead without
a word when the last place is taken: callers would wait for a place instead of being told.
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
    """So many calls of a kind were given up and still block that no more are begun."""

    def __init__(self, name: str, abandoned: int) -> None:
        super().__init__(
            errno.EAGAIN,
            f"{abandoned} {name} were cancelled and still block their threads: no more are begun"
            " until one of them ends",
        )


class _State(Enum):
    """How far a call has come."""

    NEW = auto()
    """Its thread has not looked at it yet."""
    RUNNING = auto()
    """In its thread; the task waits."""
    ENDED = auto()
    """The thread is done. A result is the task's now."""
    GIVEN_UP = auto()
    """The task is gone. A result is the thread's to drop."""


@final
class _Call(Generic[T]):
    """One call, between its task and its thread; the kind's lock guards it."""

    __slots__ = ("result", "state")

    # Invariant: a GIVEN_UP call that was RUNNING counts as abandoned until its thread ends.

    def __init__(self) -> None:
        self.state = _State.NEW
        self.result: list[T] = []
        """Empty if there is none: ``fn`` has not returned, or has raised."""


@final
class BlockingCalls:
    """Calls of one kind: how many run at a time, and how many given-up ones are put up with.

    One for each thing that can be silent by itself (a server, a disk): what blocks on one does not
    take the places of another. It may be used in any trio run, from any thread.

    Args:
        name: what the calls are, in the plural, for messages: ``"look-ups of host names"``.
        limit: how many run at a time in one trio run; others wait for a place, first come first.
        max_abandoned: how many cancelled ones may still be running, in the whole process.
    """

    def __init__(self, name: str, *, limit: int = 40, max_abandoned: int = 32) -> None:
        self.name: Final = name
        self.limit: Final = limit
        self.max_abandoned: Final = max_abandoned
        self._places: RunVar[trio.CapacityLimiter] = RunVar(name)
        self._lock = threading.Lock()
        self._abandoned = 0

    @property
    def abandoned(self) -> int:
        """How many calls were cancelled and still run."""
        return self._abandoned

    @enable_ki_protection
    async def run(
        self,
        fn: Callable[[*Ts], T],
        *args: *Ts,
        dropped: Callable[[T], object] | None = None,
    ) -> T:
        """Call ``fn(*args)`` in a thread, and return or raise what it does.

        Args:
            fn: what may block. It must not use anything that ends with the calling task.
            args: its arguments.
            dropped: is given the result where nobody waits for it any more, say to close a file; it
                is called in the thread as a rule. Without it such a result is forgotten.

        Raises:
            TooManyAbandoned: (an `OSError` with ``EAGAIN``) at once, without calling ``fn``.

        It is a checkpoint. A cancel returns at once; ``fn`` is not begun, or goes on in its thread.
        """
        self._check()
        async with self._limiter():
            self._check()
            call = _Call[T]()
            try:
                await trio.to_thread.run_sync(
                    self._work, call, fn, args, dropped,
                    abandon_on_cancel=True, limiter=trio.CapacityLimiter(math.inf),
                )  # fmt: skip
            except BaseException:
                self._give_up(call, dropped)
                raise
            return call.result.pop()

    def _check(self) -> None:
        if self._abandoned >= self.max_abandoned:
            raise TooManyAbandoned(self.name, self._abandoned)

    def _limiter(self) -> trio.CapacityLimiter:
        try:
            return self._places.get()
        except LookupError:
            limiter = trio.CapacityLimiter(self.limit)
            self._places.set(limiter)
            return limiter

    def _work(
        self,
        call: _Call[T],
        fn: Callable[..., T],
        args: tuple[object, ...],
        dropped: Callable[[T], object] | None,
    ) -> None:
        """In the thread."""
        with self._lock:
            if call.state is _State.GIVEN_UP:
                return
            call.state = _State.RUNNING
        try:
            call.result.append(fn(*args))
            if self._is_given_up(call) and dropped is not None:
                dropped(call.result.pop())  # still counted: this may block, too
        finally:
            if self._is_given_up(call):
                with self._lock:
                    self._abandoned -= 1

    def _is_given_up(self, call: _Call[T]) -> bool:
        """In the thread, at the end: the task is gone; else it may not give up any more."""
        with self._lock:
            if call.state is _State.RUNNING:
                call.state = _State.ENDED
            return call.state is _State.GIVEN_UP

    def _give_up(self, call: _Call[T], dropped: Callable[[T], object] | None) -> None:
        """In the task, which was cancelled; or ``fn`` has raised, and nothing is left to do."""
        with self._lock:
            ended = call.state is _State.ENDED
            if not ended:
                self._abandoned += call.state is _State.RUNNING
                call.state = _State.GIVEN_UP
            full = not ended and self._abandoned == self.max_abandoned
        if full:
            _log.warning("%s", TooManyAbandoned(self.name, self.max_abandoned).strerror)
        if ended and call.result and dropped is not None:
            dropped(call.result.pop())
