"""What a fiber runs: the call of a component's function."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

from wasmpool_host import _capi
from wasmpool_host import _capi_component as capi
from wasmpool_host._instance.crossing import ExportCrossing
from wasmpool_host._instance.pending import PENDING

from . import resources
from .lifting import Incoming
from .resources import FULL
from .signature import blank_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmpool_host._capi_component import ComponentArena, ComponentPlace, ComponentStore
    from wasmpool_host._instance.call_history import CallHistory
    from wasmpool_host._instance.fiber import Fiber

    from .augmented import RawFunction
    from .outgoing import Outgoing
    from .signature import ComponentSignature

__all__ = ["ComponentCrossing"]

_MUCH: Final = 16_384
"""Bytes of strings for which another crossing is worth it."""


@final
class ComponentCrossing(ExportCrossing):
    """An exported function that can be called.

    Integers have a buffer that stays, so that most calls of them make nothing. Other arguments are
    laid out anew for each call, since they are of any length.
    """

    __slots__ = (
        "_after_args", "_before_args", "_memory", "_numbers", "_out", "_payload", "_wit", "raw",
        "returned", "returns_much",
    )  # fmt: skip

    _before_args: tuple[Any, ...]

    def __init__(  # noqa: PLR0913 - its parts, from one place
        self,
        arena: ComponentArena,
        place: ComponentPlace,
        signature: ComponentSignature,
        *,
        history: CallHistory,
        label: str,
        payload: int,
        raw: RawFunction | None,
        memory: int | None,
    ) -> None:
        """Take the parts together.

        Args:
            arena: the buffers of the store.
            place: where the function's handle is written.
            signature: its type.
            history: that of its calls.
            label: its name in messages.
            payload: bytes that the strings and lists of the result may have.
            raw: the function that stands for it where there are many bytes, if there is one.
            memory: where this is such a function: the number of the memory that they are in.
        """
        self.raw: RawFunction | None = raw
        self.returns_much: bool = raw is not None and raw.returns_bytes
        """True if the result may have many bytes: if it has some, or the last one had."""
        self.returned: int = 0
        """Bytes of the strings and lists in the last result."""
        self._memory = memory
        self._place = place
        self._wit = signature
        self._payload = payload
        self.history = history
        self.label = label
        self._out: Outgoing | None = None
        count = 0 if signature.type.result is None else 1
        self.results = bytearray(count * capi.VALUE)
        self._after_args = (
            _capi.number(signature.count),
            _capi.pointer(_capi.address(self.results)), _capi.number(count),
            arena.error_at,
        )  # fmt: skip
        self.args = bytearray()
        self._numbers: partial[int] | None = None

    def bind(self, fiber: Fiber) -> None:
        """Look the function up in an instance, which is called from now on."""
        fiber.store.find(self._place)
        self._fiber = fiber
        self._before_args = (self._place.at, fiber.store.context_at)
        if self._wit.numbers is not None:
            self.args = bytearray(blank_values([each for _, each in self._wit.type.params]))
            self._numbers = self._begin_with(_capi.address(self.args))

    def _begin_with(self, args: int) -> partial[int]:
        return partial(capi.call_async, *self._before_args, _capi.pointer(args), *self._after_args)

    def release(self) -> None:
        """Drop what refers to the instance, which is closed."""
        self._numbers = None
        self._before_args = ()
        del self._fiber

    def start(self, args: Sequence[object]) -> Any:
        """Write the arguments and run the call's first slice; return PENDING if it is not done.

        Raises:
            TypeError: saying which argument is wrong, and where inside it.
            GuestTrap, RecursionError: as `Fiber.start`.
        """
        numbers, signature = self._numbers, self._wit
        if numbers is not None and signature.put_numbers(self.args, args):
            self.begin = numbers
            fiber = self._fiber
            if not fiber.start(self):
                return PENDING
            take = signature.take_number
            if take is None or fiber.store.dropped:  # type: ignore[attr-defined]  # a component's
                return self.take()
            return take(self.results)[0]
        return self.start_laid_out(self.lay_out(args))

    def lay_out(self, args: Sequence[object]) -> Outgoing:
        """Write arguments to a buffer.

        Raises:
            TypeError: as `start`.
        """
        store: ComponentStore = self._fiber.store  # type: ignore[assignment]  # a component's
        return self._wit.lower(args, self.label, store)

    def start_laid_out(self, out: Outgoing) -> Any:
        """Do `start` with arguments that are laid out; what is to be copied was copied."""
        self._out = out
        try:
            self.begin = self._begin_with(out.seal())
            done = self._fiber.start(self)
        except BaseException:
            self._end_args()
            raise
        return self.take() if done else PENDING

    def _end_args(self) -> None:
        out, self._out = self._out, None
        if out is not None:
            out.release()

    def take(self) -> Any:
        """Return the result, after the guest has.

        Raises:
            GuestMemoryError: it is too large; the instance is poisoned.
            BaseException: what the ``close`` of a resource raised that the guest has dropped.
        """
        store: ComponentStore = self._fiber.store  # type: ignore[assignment]  # a component's
        try:
            content = bytes(self.results)
            source = Incoming(f"the result of {self.label}", self._payload, store, self._memory)
            result = self._wit.lift_result(content, source)
            self.note_returned(source.counted)
            store.close_dropped()
            if store.forgotten >= resources.MOST_HANDLES and not store.keeps_resources:
                self._fiber.poisoned = self._fiber.poisoned or FULL
        except BaseException as error:
            self._fiber.poison(error)
            raise
        finally:
            self._end_args()
            self._free_result()
        return result

    def note_returned(self, size: int) -> None:
        """Note how many bytes a result has had; the next one is expected to have as many."""
        self.returned = size
        if self.raw is not None:
            self.returns_much = self.raw.returns_bytes or size >= _MUCH

    def _free_result(self) -> None:
        if self._wit.owns_memory:
            capi.delete_value(_capi.address(self.results))
            self.results[:] = bytes(capi.VALUE)
