"""A call of an Extism plugin: an input, an output, or the guest's error.

The kernel is cleared, and takes the input. Then the export is called, and the host reads what the
guest has left in the kernel. That is one crossing, unless the kernel's memory has to grow for the
input. An error that the guest sets is its answer, whatever the export returns, and so is a result
other than 0 without one. The guest has ended as it wanted to, so its instance serves on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from wasmpool_host._errors import ExtismError, GuestExit, GuestMemoryError, GuestTrap
from wasmpool_host._escape import escaped
from wasmpool_host._instance.pending import PENDING
from wasmpool_host._instance.poison import FINISHED
from wasmpool_host._instance.stepped_exchange import SteppedExchange
from wasmpool_host._types import FunctionType

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmpool_host._instance.crossing import ExportCrossing
    from wasmpool_host._instance.fiber import Fiber
    from wasmpool_host._instance.linked_module import LinkedModule
    from wasmpool_host._instance.pending import Pending
    from wasmpool_host._instance.stepwise import Steps

    from .blocks import Blocks

__all__ = ["CALLABLE", "KernelExchange"]

CALLABLE: Final = (FunctionType((), ("i32",)), FunctionType((), ()))
"""The types of exports that can be called with an input."""

_TEXT: Final = 4 << 10
"""Bytes of an error's text that are kept."""


@final
class KernelExchange(SteppedExchange):
    """One instance's side of the calls of an Extism plugin."""

    __slots__ = ("_blocks", "_kernel_begin", "_module", "_resolve", "_routes")

    def __init__(
        self,
        fiber: Fiber,
        module: LinkedModule,
        resolve: Callable[[str], ExportCrossing],
        begin: ExportCrossing,
        blocks: Blocks,
    ) -> None:
        """``begin`` is the kernel's function that clears it and makes room for an input."""
        super().__init__(fiber)
        self._module = module
        self._resolve = resolve
        self._kernel_begin = begin
        self._blocks = blocks
        self._routes: dict[str, ExportCrossing] = {}

    def start(self, name: str, payload: bytes | None) -> bytes | Pending:
        """Run the first slices of a call; return its output, or PENDING."""
        crossing = self._routes.get(name) or self._route(name)
        data = payload or b""
        self._check_input(crossing, data)
        if crossing.is_program or not self._blocks.begin(data):
            return self._begin(self._grow_and_call(crossing, data))
        try:
            status = crossing.start(())
        except GuestTrap as trapped:
            self._add_text(trapped)
            raise
        if status is PENDING:
            return self._begin(self._call(crossing, begun=True))
        return self._take_output(crossing, status or 0)  # type: ignore[arg-type]  # one integer or nothing

    def _route(self, name: str) -> ExportCrossing:
        crossing = self._resolve(name)
        type_ = crossing.signature.type
        if type_ not in CALLABLE:
            message = (
                f"export {crossing.label} has the type {type_}: an Extism plugin is called by"
                f" exports of type {CALLABLE[0]} or {CALLABLE[1]}"
            )
            raise TypeError(message)
        self._routes[name] = crossing
        return crossing

    def _check_input(self, crossing: ExportCrossing, data: object) -> None:
        if not isinstance(data, bytes):
            message = f"{crossing.label}: the input must be bytes, not {type(data).__name__}"
            raise TypeError(message)
        limit = self._module.limits.payload
        if len(data) > limit:
            message = (
                f"{crossing.label}: an input of {len(data):,} bytes is above"
                f" limits.payload={limit:,}"
            )
            raise ValueError(message)

    def _grow_and_call(self, crossing: ExportCrossing, data: bytes) -> Steps[bytes]:
        offset = yield from self._cross(self._kernel_begin, (len(data),))
        if data:
            if not offset:
                raise self._no_room(crossing, len(data))
            self._blocks.write(offset, data)
        return (yield from self._call(crossing))

    def _call(self, crossing: ExportCrossing, *, begun: bool = False) -> Steps[bytes]:
        """Make the export's crossing, or its rest, and take the output."""
        try:
            status = yield from (self._rest(crossing) if begun else self._cross(crossing, ()))
        except GuestExit as exited:
            if exited.status:
                self._add_text(exited)
                raise
            status = 0
        except GuestTrap as trapped:
            self._add_text(trapped)
            raise
        if crossing.is_program:
            self._fiber.poisoned = self._fiber.poisoned or FINISHED
        return self._take_output(crossing, status)

    def _take_output(self, crossing: ExportCrossing, status: int) -> bytes:
        outcome = self._blocks.outcome()
        text = self._text(outcome.error)
        if text or status:
            raise ExtismError(crossing.label, text, status)
        limit = self._module.limits.payload
        if outcome.length > limit:
            message = (
                f"{crossing.label} gave an output of {outcome.length:,} bytes, above"
                f" limits.payload={limit:,}"
            )
            error = GuestMemoryError(message)
            self._fiber.poison(error)
            raise error
        return self._blocks.read(outcome.output, outcome.length) if outcome.length else b""

    def _text(self, offset: int) -> str:
        """Return the beginning of an error's text; empty if there is none."""
        if not offset:
            return ""
        length = min(self._blocks.length(offset), _TEXT)
        return self._blocks.read(offset, length).decode(errors="replace") if length else ""

    def _add_text(self, error: GuestExit | GuestTrap) -> None:
        """Add the text that the guest has set before its end to the error of that."""
        text = self._text(self._blocks.outcome().error)
        if text:
            error.add_note(f"the guest has set the error: {escaped(text)}")

    def _no_room(self, crossing: ExportCrossing, size: int) -> GuestMemoryError:
        message = (
            f"{crossing.label}: an input of {size:,} bytes does not fit into the blocks of the"
            " plugin, which have a part of limits.memory"
        )
        return GuestMemoryError(message)
