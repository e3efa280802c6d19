"""Calls whose bytes the host writes into the guest's memory itself, and reads from it.

Such a call is several crossings: the guest's allocator for each list and string, the function, and
what frees its result (`augment`). The canonical ABI says what is where:
https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, Final, final

from wasmpool_host._errors import GuestMemoryError
from wasmpool_host._instance.stepwise import Stepwise
from wasmpool_host._wit_values import Err, Ok

from .lowering import INTEGERS
from .shape import BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmpool_host._capi_component import ComponentStore
    from wasmpool_host._instance.crossing import ExportCrossing
    from wasmpool_host._instance.fiber import Fiber
    from wasmpool_host._instance.pending import Pending
    from wasmpool_host._instance.stepwise import Steps

    from .augment import RawFunction
    from .shape import Part
    from .signature import ComponentSignature

__all__ = ["BytesCalls", "is_worth_it"]

_SMALLEST: Final = 1_024
"""Bytes of an argument for which two crossings are worth it."""

_take_region: Final = Struct("<II").unpack
_RESULT_SIZE: Final = 12
"""Bytes of a ``result`` of two lists: which of them, then the list at offset 4."""
_LOW: Final = (1 << 32) - 1


def is_worth_it(raw: RawFunction, args: Sequence[Any]) -> bool:
    """Return True if the bytes are many, or can be many in the result."""
    result = raw.shape.result
    if result == BYTES or (isinstance(result, tuple) and BYTES in result):
        return True
    return any(
        isinstance(value, (bytes, bytearray, memoryview)) and len(value) >= _SMALLEST
        for value in args
    )


@final
class BytesCalls(Stepwise[Any]):
    """One instance's calls of this kind."""

    __slots__ = ("_payload", "_resolve")

    def __init__(
        self, fiber: Fiber, resolve: Callable[[str], ExportCrossing], payload: int
    ) -> None:
        """``resolve`` finds an export; a result has ``payload`` bytes at most."""
        super().__init__(fiber)
        self._resolve = resolve
        self._payload = payload

    def start(
        self, raw: RawFunction, signature: ComponentSignature, args: Sequence[Any], label: str
    ) -> Any | Pending:
        """Run the first slices of a call; return its result, or PENDING.

        Raises:
            TypeError: an argument does not fit.
            GuestMemoryError: the result is outside of the memory, or too large.
        """
        given = signature.flat(args, raw.shape, label, self._store)
        return self._begin(self._call(raw, given, label))

    @property
    def _store(self) -> ComponentStore:
        return self._fiber.store  # type: ignore[return-value]  # a component's

    def _call(self, raw: RawFunction, given: Sequence[Any], label: str) -> Steps[Any]:
        flat: list[Any] = []
        for value in given:
            if isinstance(value, (bytes, memoryview)):
                pointer = yield from self._allocated(raw, value, label)
                flat += (pointer, len(value))
            else:
                flat.append(value)
        returned = yield from self._cross(self._resolve(raw.call), tuple(flat))
        result = self._read(raw, returned, label)
        if raw.post_return is not None:
            takes = () if raw.shape.result is None else (returned,)
            yield from self._cross(self._resolve(raw.post_return), takes)
        return result

    def _allocated(self, raw: RawFunction, content: bytes | memoryview, label: str) -> Steps[int]:
        """Copy bytes into memory of the guest's own allocator; return the pointer."""
        assert raw.realloc is not None
        size = len(content)
        realloc = self._resolve(raw.realloc)
        pointer: int = yield from self._cross(realloc, (0, 0, 1, size))
        if not self._store.write_to(raw.memory, pointer, content):
            raise self._refused(f"{label}: {size:,} bytes at {pointer:#x}, from its allocator,")
        return pointer

    def _read(self, raw: RawFunction, returned: Any, label: str) -> Any:
        shape = raw.shape
        if shape.result is None:
            return None
        if isinstance(shape.result, tuple):
            return self._read_result(raw, returned, shape.result, label)
        if shape.result in (BYTES, "string"):
            region = self._region(raw, returned, 8, label)
            return self._content(raw, region, shape.result, label)
        return _scalar(shape.result, returned)

    def _read_result(
        self, raw: RawFunction, at: int, parts: tuple[Part | None, Part | None], label: str
    ) -> Ok | Err:
        """Read a ``result``: a byte that says which, then at offset 4 what is in it."""
        has_content = any(part is not None for part in parts)
        found = self._region(raw, at, _RESULT_SIZE if has_content else 1, label)
        if found[0] > 1:
            raise self._refused(f"{label}: the discriminant {found[0]} of a result", "is neither")
        part = parts[found[0]]
        value = None if part is None else self._content(raw, found[4:], part, label)
        return Err(value) if found[0] else Ok(value)

    def _content(self, raw: RawFunction, region: bytes, part: Part, label: str) -> bytes | str:
        pointer, size = _take_region(region)
        if size > self._payload:
            raise self._refused(
                f"the result of {label}, of {size:,} bytes,",
                f"is above limits.payload={self._payload:,}",
            )
        content = self._region(raw, pointer, size, label)
        if part == BYTES:
            return content
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise self._refused(f"the result of {label}", f"is no UTF-8: {error}") from error

    def _region(self, raw: RawFunction, pointer: int, size: int, label: str) -> bytes:
        content = self._store.read_from(raw.memory, pointer, size)
        if content is None:
            raise self._refused(f"the result of {label}, {size:,} bytes at {pointer:#x},")
        return content

    def _refused(self, what: str, why: str = "is outside the guest's memory") -> GuestMemoryError:
        error = GuestMemoryError(f"{what} {why}")
        self._fiber.poison(error)
        return error


def _scalar(part: Part, value: Any) -> Any:
    """The value of a scalar, from what a core function has returned."""
    if part in ("f32", "f64"):
        return value
    if part == "bool":
        return bool(value)
    _, bits = INTEGERS[part]
    value &= (1 << bits) - 1
    return value - (1 << bits) if part.startswith("s") and value >> (bits - 1) else value
