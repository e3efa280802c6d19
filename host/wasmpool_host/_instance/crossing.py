"""What a fiber runs: the call of an export, or the start of an instance."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, final

from wasmpool_host import _capi

from .pending import PENDING
from .poison import FINISHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .call_history import CallHistory
    from .fiber import Fiber
    from .pending import Pending
    from .signature import Results, Signature

__all__ = ["ExportCrossing", "ProgramCrossing", "StartCrossing"]


class ExportCrossing:
    """An export that can be called: its address, and buffers for its values.

    The buffers are used for nothing else, so every argument of the C function is a constant of one
    instance: a call writes the values and makes the future. `bind` makes it one instance's, and
    `release` leaves it for the next one.
    """

    __slots__ = (
        "_arguments",
        "_fiber",
        "_place",
        "args",
        "begin",
        "history",
        "label",
        "results",
        "signature",
    )  # fmt: skip

    is_program: ClassVar[bool] = False
    """True if the instance has done its work once this has returned."""

    _fiber: Fiber
    begin: partial[int]

    def __init__(
        self,
        arena: _capi.Arena,
        place: _capi.Place,
        signature: Signature,
        history: CallHistory,
        label: str,
    ) -> None:
        self._place = place  # the address of the function is inside it
        self.args: bytearray = signature.params.buffer()
        """The array of its arguments."""
        self.results: bytearray = signature.results.buffer()
        """The array that its results are in once it has returned."""
        self._arguments: tuple[Any, ...] = (
            place.at,
            _capi.pointer(_capi.address(self.args)), _capi.number(signature.params.count),
            _capi.pointer(_capi.address(self.results)), _capi.number(signature.results.count),
            arena.trap_at, arena.error_at,
        )  # fmt: skip
        self.signature: Signature = signature
        self.history: CallHistory = history
        self.label: str = label

    def bind(self, fiber: Fiber) -> None:
        """Look the export up in an instance, which is called from now on."""
        fiber.store.find(self._place)
        self.attach(fiber)

    def attach(self, fiber: Fiber) -> None:
        """Call an instance from now on, whose function is in its place already."""
        self._fiber = fiber
        self.begin = partial(_capi.call_async, fiber.store.context_at, *self._arguments)
        self._arguments = ()  # `begin` has them now: thousands of calls may wait at once

    def release(self) -> None:
        """Drop what refers to the instance, which is closed."""
        self._arguments = self.begin.args[1:]
        del self._fiber, self.begin

    def start(self, args: Sequence[object]) -> Results | Pending:
        """Write the arguments and run the call's first slice; return PENDING if it is not done.

        Raises:
            TypeError, ValueError: naming the argument that is wrong.
            GuestTrap, RecursionError: as `Fiber.start`.
        """
        signature = self.signature
        signature.params.put(self.args, args, self.label)
        if not self._fiber.start(self):
            return PENDING
        values = signature.results.take(self.results)  # `take`, written out
        return values[0] if len(values) == 1 else values or None

    def take(self) -> Results:
        """Return the results, after `Fiber.finish`."""
        return self.signature.take_results(self.results)


@final
class ProgramCrossing(ExportCrossing):
    """A program's ``_start``, which an instance runs once."""

    __slots__ = ()

    is_program: ClassVar[bool] = True

    def start(self, args: Sequence[object]) -> Results | Pending:
        """Do the same, and note that the program has run if it is done."""
        result = super().start(args)
        if result is not PENDING:
            self._fiber.poisoned = FINISHED
        return result


@final
class StartCrossing:
    """A start function, of an instance or of the exchange helper, which has no values."""

    __slots__ = ("begin", "history", "label")

    def __init__(self, begin: partial[int], label: str, history: CallHistory) -> None:
        self.begin: partial[int] = begin
        self.label: str = label
        self.history: CallHistory = history
