"""Bytes in, bytes out: the packed ABI, in one crossing for most calls.

Taken by its letter, an exchange is four crossings: malloc for the payload, the export, free for
the result, free for the payload. Two of them go because the payload's buffer belongs to the
host by contract, and so may be kept from call to call and grown when it must be. The free of
the result goes together with the next call of the same export: a module of a few instructions,
linked beside the guest, frees the last result and then calls (`_capi.Exchangers`). A crossing
costs more than what most guests do in it.

A free that traps is a fact of life: allocators of guests assert on sizes that the contract does
not have. The result is copied by then, so the call is good; such an instance is never asked to
free again, and what it keeps is for the pool's ``max_memory`` to judge. The helper says at which
of its two steps it trapped, so the export never runs twice for one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from . import _capi
from ._bound import Bound
from ._errors import GuestMemoryError, GuestTrap
from ._pace import Pace
from ._packed import pack, unpack
from ._signature import Signature
from ._types import FunctionType

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._fiber import Fiber
    from ._module import Module

__all__ = ["Exchange"]

_SMALLEST: Final = 1_024
"""Bytes of the first buffer: enough for most calls, so that it is not grown step by step."""

_LARGEST: Final = (1 << 32) - 1
"""Bytes that a guest can be asked for."""

_MOST_HELPERS: Final = 100
"""Exports with a helper in one instance: a store has room for a thousand instances."""

_WITH_PAYLOAD: Final = Signature(FunctionType(("i32", "i64"), ("i64",)), "the exchange helper")
_WITHOUT: Final = Signature(FunctionType(("i32",), ("i64",)), "the exchange helper")


@final
class Helper:
    """The helper linked to one export of one instance."""

    __slots__ = ("_freeing", "bound")

    def __init__(self, bound: Bound, freeing: object) -> None:
        self.bound = bound
        self._freeing = freeing

    def trapped_freeing(self, fiber: Fiber) -> bool:
        return _capi.read_global_i32(fiber.store.context, self._freeing) == 1


@final
class Exchange:
    """One instance's side of the packed ABI."""

    # Invariants:
    # - the guest's [_buffer, _buffer + _capacity) is the host's, from its malloc
    # - `_owed` is a result that was copied and is still to be freed, or 0
    # - once `_keeps` is set, free is never called again

    __slots__ = (
        "_bind", "_buffer", "_capacity", "_fiber", "_free", "_helpers", "_keeps", "_module",
        "_owed", "_seen",
    )  # fmt: skip

    def __init__(self, fiber: Fiber, module: Module, bind: Callable[[str], Bound]) -> None:
        self._fiber = fiber
        self._module = module
        self._bind = bind
        self._free = module.free()
        self._keeps = self._free is None
        self._buffer = 0
        self._capacity = 0
        self._owed = 0
        self._seen: set[str] = set()
        self._helpers: dict[str, Helper] = {}

    async def run(self, name: str, payload: bytes | None) -> bytes:
        """Exchange; see `Instance.exchange`."""
        bound = self._bind(name)
        self._module.check_exchanges(name, payload)
        self._fiber.begin_span()
        try:
            args: tuple[int, ...] = () if payload is None else (await self._lay_out(payload),)
            packed = await self._call(name, bound, args)
        finally:
            self._fiber.end_span()
        ptr, size = unpack(packed)
        return self._take_result(name, ptr, size) if size else b""

    async def _lay_out(self, payload: bytes) -> int:
        """Copy the payload to the guest; its packed region."""
        if not payload:
            return 0
        if len(payload) > self._capacity:
            await self._grow(len(payload))
        self._write(payload)
        return pack(self._buffer, len(payload))

    def _write(self, payload: bytes) -> None:
        base, total = self._fiber.store.memory_region()
        self._check_inside(self._buffer, len(payload), total, "the buffer of its malloc")
        _capi.copy_in(base + self._buffer, payload)

    def _take_result(self, name: str, ptr: int, size: int) -> bytes:
        base, total = self._fiber.store.memory_region()
        self._check_inside(ptr, size, total, f"the result of {name}")
        try:
            self._module.check_payload(size, self._module.label(name) + " returned")
        except GuestMemoryError as error:
            self._fiber.poison(error)
            raise
        inside_buffer = self._buffer - size < ptr < self._buffer + self._capacity
        if not (self._keeps or inside_buffer):
            self._owed = ptr
        return _capi.copy_out(base + ptr, size)

    def _check_inside(self, ptr: int, size: int, total: int, what: str) -> None:
        if ptr + size <= total:
            return
        error = GuestMemoryError(
            f"{self._module}: {what}, {size:,} bytes at {ptr:#x}, is outside the guest's memory"
            f" of {total:,} bytes"
        )
        self._fiber.poison(error)
        raise error

    # --- calls ---

    async def _call(self, name: str, bound: Bound, args: tuple[int, ...]) -> int:
        if self._owed:
            helper = self._helpers.get(name) or await self._help(name, bound)
            if helper is not None:
                return await self._free_and_call(helper, bound, args)
            await self._free_owed()
        return await self._cross(bound, args)

    async def _free_and_call(self, helper: Helper, bound: Bound, args: tuple[int, ...]) -> int:
        owed, self._owed = self._owed, 0
        try:
            return await self._cross(helper.bound, (owed, *args))
        except GuestTrap:
            if not (self._fiber.pardonable and helper.trapped_freeing(self._fiber)):
                raise
            self._never_free_again()
        return await self._cross(bound, args)

    async def _free_owed(self) -> None:
        owed, self._owed = self._owed, 0
        await self._free_region(owed)

    async def _free_region(self, ptr: int) -> None:
        if self._keeps or self._free is None:
            return
        try:
            await self._cross_any(self._bind(self._free), (ptr,))
        except GuestTrap:
            if not self._fiber.pardonable:
                raise
            self._never_free_again()

    def _never_free_again(self) -> None:
        self._keeps = True
        self._fiber.poisoned = None

    async def _grow(self, size: int) -> None:
        """A larger buffer, twice the last at least, so that growing is rare."""
        old, self._buffer, self._capacity = self._buffer, 0, 0
        if old:
            await self._free_region(old)
        capacity = min(max(_SMALLEST, 1 << (size - 1).bit_length()), _LARGEST)
        malloc = self._bind(self._module.malloc())
        ptr = int(await self._cross_any(malloc, (capacity,))) & 0xFFFF_FFFF
        if not ptr:
            error = GuestMemoryError(f"{malloc.label} of {capacity:,} bytes returned 0")
            self._fiber.poison(error)
            raise error
        self._buffer, self._capacity = ptr, capacity

    async def _cross(self, bound: Bound, args: tuple[int, ...]) -> int:
        return int(await self._cross_any(bound, args))

    async def _cross_any(self, bound: Bound, args: tuple[int, ...]) -> int:
        if self._fiber.interrupted is not None:  # as the last crossing ended
            raise self._fiber.interrupted
        bound.put(args)
        await self._fiber.run(bound.begin, bound.pace, bound.label)
        return bound.take() or 0  # type: ignore[return-value]  # one integer or nothing, by the checked types

    async def _help(self, name: str, bound: Bound) -> Helper | None:
        """The helper for an export; made at its second call, so a guest of one call needs none."""
        if name not in self._seen or len(self._helpers) >= _MOST_HELPERS:
            self._seen.add(name)
            return None
        store = self._fiber.store
        takes_payload = bound.signature.params.count == 1
        beginning = self._module.engine.exchangers.begin(
            store, store.export(name), store.export(self._free or ""), takes_payload=takes_payload
        )
        await self._fiber.run(beginning.future, Pace(), f"the exchange helper of {bound.label}")
        signature = _WITH_PAYLOAD if takes_payload else _WITHOUT
        run = Bound(store, beginning.export(b"run"), signature, bound.pace, bound.label)
        helper = self._helpers[name] = Helper(run, beginning.export(b"freeing"))
        return helper
