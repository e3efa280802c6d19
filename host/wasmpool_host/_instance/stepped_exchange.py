"""An exchange of bytes that may take several crossings, written as generators.

Most crossings end in their first slice, and then the whole exchange is one plain step. So the way
through several crossings is written once, as generators (`Steps`). They yield where a crossing is
pending, and continue, or raise, when the task has driven it to its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio.lowlevel import enable_ki_protection

from .pending import PENDING

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import TypeAlias, TypeVar

    from .crossing import ExportCrossing
    from .fiber import Fiber
    from .pending import Pending

    T = TypeVar("T")
    Steps: TypeAlias = Generator[None, None, T]

__all__ = ["SteppedExchange"]


class SteppedExchange:
    """One instance's side of a way to exchange bytes; `start` is the way's own."""

    # Invariants:
    # - while an exchange is pending, `_steps` are the rest of it, and wait for a crossing

    __slots__ = ("_fiber", "_steps")

    def __init__(self, fiber: Fiber) -> None:
        self._fiber = fiber
        self._steps: Steps[bytes] | None = None

    def start(self, name: str, payload: bytes | None) -> bytes | Pending:
        """Run the first slices of `Instance.exchange`; return its result, or PENDING."""
        raise NotImplementedError

    def start_settling(self) -> bytes | Pending:
        """Take what is the host's out of the guest's memory, but for `buffer`; return as `start`.

        The result is empty.
        """
        return b""

    @property
    def buffer(self) -> tuple[int, int]:
        """The host's buffer in the guest's memory, and its capacity; (0, 0) if there is none."""
        return 0, 0

    @enable_ki_protection
    async def finish(self) -> bytes:
        """Drive the pending exchange to its end, and return its result."""
        steps, self._steps = self._steps, None
        assert steps is not None
        try:
            while True:
                try:
                    await self._fiber.finish()
                except BaseException as error:  # noqa: BLE001 - the steps raise it, or handle it
                    steps.throw(error)
                else:
                    next(steps)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # `Steps[bytes]`

    def finish_now(self) -> bytes | Pending:
        """Do `finish` if a worker is done with the crossing and no other follows; else PENDING."""
        steps = self._steps
        assert steps is not None
        try:
            try:
                if not self._fiber.finish_now():
                    return PENDING
            except BaseException as error:  # noqa: BLE001 - the steps raise it, or handle it
                steps.throw(error)
            else:
                next(steps)
        except StopIteration as done:
            self._steps = None
            return done.value  # type: ignore[no-any-return]  # `Steps[bytes]`
        except BaseException:
            self._steps = None
            raise
        return PENDING

    @property
    def is_pending(self) -> bool:
        """True if `finish` has to be called."""
        return self._steps is not None

    def abandon(self) -> None:
        """Drop the pending exchange: `finish` will not be called."""
        self._steps = None

    # --- for the way itself ---

    def _begin(self, steps: Steps[bytes]) -> bytes | Pending:
        try:
            next(steps)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # `Steps[bytes]`
        self._steps = steps
        return PENDING

    def _cross(self, crossing: ExportCrossing, args: tuple[int, ...]) -> Steps[int]:
        self._check()
        result = crossing.start(args)
        if result is PENDING:
            return (yield from self._rest(crossing))
        return result or 0  # type: ignore[return-value]  # one integer or nothing

    def _rest(self, crossing: ExportCrossing) -> Steps[int]:
        """Wait for a pending crossing; return its result."""
        yield
        return crossing.take() or 0  # type: ignore[return-value]  # one integer or nothing

    def _check(self) -> None:
        """Raise the error of an interrupt that came as the last crossing returned."""
        if self._fiber.interrupted is not None:
            raise self._fiber.interrupted
