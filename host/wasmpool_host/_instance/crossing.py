"""What a fiber runs: the call of an export, or the start of an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

from wasmpool_host import _capi

from .pending import PENDING
from .poison import FINISHED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from functools import partial

    from .call_history import CallHistory
    from .fiber import Fiber
    from .pending import Pending
    from .signature import Results, Signature

__all__ = ["ExportCrossing", "ProgramCrossing", "StartCrossing"]


class ExportCrossing:
    """An export of one instance, ready to be called: its address, and buffers for its values.

    The buffers are used for nothing else, so every argument of the C function is a constant: a
    call writes the values and makes the future.
    """

    __slots__ = (
        "_args",
        "_extern",
        "_fiber",
        "_results",
        "begin",
        "history",
        "label",
        "signature",
    )  # fmt: skip

    is_program: ClassVar[bool] = False
    """True if the instance has done its work once this has returned."""

    def __init__(
        self, fiber: Fiber, extern: Any, signature: Signature, history: CallHistory, label: str
    ) -> None:
        store = fiber.store
        self._fiber = fiber
        self._extern = extern  # the address of the function is inside it
        self._args = signature.params.buffer()
        self._results = signature.results.buffer()
        self.signature: Signature = signature
        self.history: CallHistory = history
        self.label: str = label
        self.begin: partial[int] = store.call_of(
            _capi.func_at(extern),
            _capi.address(self._args), signature.params.count,
            _capi.address(self._results), signature.results.count,
        )  # fmt: skip

    def start(self, args: Sequence[object]) -> Results | Pending:
        """Write the arguments and run the call's first slice; return PENDING if it is not done.

        Raises:
            TypeError, ValueError: naming the argument that is wrong.
            GuestTrap, RecursionError: as `Fiber.start`.
        """
        signature = self.signature
        signature.params.put(self._args, args, self.label)
        return signature.take_results(self._results) if self._fiber.start(self) else PENDING

    def take(self) -> Results:
        """Return the results, after `Fiber.finish`."""
        return self.signature.take_results(self._results)


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
