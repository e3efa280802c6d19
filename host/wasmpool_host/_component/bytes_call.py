"""Calls whose bytes the host writes into the guest's memory itself, and reads from it.

Such a call is several crossings: the guest's allocator for each list and string, the function, and
what ends the call once the result was read (`augment`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from wasmpool_host._errors import GuestMemoryError
from wasmpool_host._instance.pending import PENDING
from wasmpool_host._instance.stepwise import Stepwise
from wasmpool_host._wit_values import Err, Ok, Record, Some, Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmpool_host._capi_component import ComponentStore
    from wasmpool_host._instance.crossing import ExportCrossing
    from wasmpool_host._instance.fiber import Fiber
    from wasmpool_host._instance.pending import Pending
    from wasmpool_host._instance.stepwise import Steps

    from .augmented import RawFunction
    from .crossing import ComponentCrossing
    from .outgoing import Outgoing

__all__ = ["BytesCalls", "are_worth_it", "may_be_worth_it"]

_SMALLEST: Final = 512
"""Bytes for which a crossing is worth it: as values they take as long."""
_FEW: Final = 64
"""Crossings that are worth it if the result may have many bytes."""

_SCALARS: Final = frozenset((int, float, bool, type(None), frozenset))
_MOST_DEEP: Final = 6
"""Levels that are looked at: what is below may have many bytes."""


def may_be_worth_it(raw: RawFunction, args: Sequence[Any], *, returns_much: bool) -> bool:
    """Return True if there may be many bytes in the arguments, or in the result."""
    if returns_much:
        return True
    if not raw.takes_bytes:
        return False
    return any(_may_have_many(value, _MOST_DEEP) for value in args)


def _may_have_many(value: Any, levels: int) -> bool:
    """Return False if a value has no long list or string in it: looking takes less than trying."""
    kind = type(value)
    if kind in _SCALARS:
        return False
    if kind in (str, bytes):
        return len(value) >= _SMALLEST
    if not levels:
        return True
    if kind in (list, tuple):
        inside = value
        if len(value) >= _SMALLEST:  # perhaps of numbers, for a list of bytes
            return True
    elif kind is dict:
        inside = value.values()
    elif kind in (Variant, Ok, Err, Some):
        inside = (value.value,)
    elif isinstance(value, Record):
        inside = value._values()  # noqa: SLF001 - there is no public name, as fields have any
    else:
        return True
    return any(_may_have_many(each, levels - 1) for each in inside)


def are_worth_it(out: Outgoing, *, returns_much: bool) -> bool:
    """Return True if arguments that were laid out should be passed in this way."""
    count = len(out.copies)
    if returns_much and count <= _FEW:
        return True
    return count > 0 and out.weight >= _SMALLEST * count


@final
class BytesCalls(Stepwise[Any]):
    """One instance's calls of this kind."""

    __slots__ = ("_resolve",)

    def __init__(self, fiber: Fiber, resolve: Callable[[str], ExportCrossing]) -> None:
        """``resolve`` finds an export."""
        super().__init__(fiber)
        self._resolve = resolve

    def start(
        self,
        raw: RawFunction,
        crossing: ComponentCrossing,
        out: Outgoing,
        stands_for: ComponentCrossing,
    ) -> Any | Pending:
        """Run the first slices of a call.

        Args:
            raw: the function.
            crossing: that of the function.
            out: the arguments, laid out for it.
            stands_for: the crossing by values.

        Returns:
            Its result, or PENDING.

        Raises:
            GuestMemoryError: the allocator returns what is outside of the memory; or the result is
                outside of it, or too large.
        """
        return self._begin(self._call(raw, crossing, out, stands_for))

    @property
    def _store(self) -> ComponentStore:
        return self._fiber.store  # type: ignore[return-value]  # a component's

    def _call(
        self,
        raw: RawFunction,
        crossing: ComponentCrossing,
        out: Outgoing,
        stands_for: ComponentCrossing,
    ) -> Steps[Any]:
        for at, content in out.copies:
            pointer = yield from self._allocated(raw, content, crossing.label)
            out.put_pointer(at, pointer)
        self._check()
        result = crossing.start_laid_out(out)
        if result is PENDING:
            yield
            result = crossing.take()
        stands_for.note_returned(crossing.returned)
        if raw.end is not None:
            yield from self._cross(self._resolve(raw.end), ())
        return result

    def _allocated(
        self, raw: RawFunction, content: bytes | bytearray | memoryview, label: str
    ) -> Steps[int]:
        """Copy bytes into memory of the guest's own allocator; return the pointer."""
        assert raw.realloc is not None
        size = len(content)
        pointer: int = yield from self._cross(self._resolve(raw.realloc), (0, 0, 1, size))
        if not self._store.write_to(raw.memory, pointer, content):
            error = GuestMemoryError(
                f"{label}: {size:,} bytes at {pointer:#x}, from its allocator, is outside the"
                " guest's memory"
            )
            self._fiber.poison(error)
            raise error
        return pointer
