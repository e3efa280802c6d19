"""Bytes in, bytes out: the packed ABI, in one crossing for most calls.

By the letter of the ABI an exchange is four crossings: malloc for the payload, the export, free
for the result, free for the payload. A crossing costs more than most guests do in it, so two of
them are left out. The payload's buffer belongs to the host by contract, and so it is kept from
call to call, and replaced by a larger one when it must be. And the free of a result is done
together with the next call of the same export: a module of a few instructions, linked to the
guest, frees the last result and then calls (`_capi.Exchangers`).

A free may trap: allocators of guests assert on sizes for which the contract has no rule. The
result is copied by then, so the call is good. Such an instance is never asked to free again, and
its memory is left to the pool's ``max_memory``. The helper says at which of its two steps it
trapped, so the export never runs twice for one call.
"""

from __future__ import annotations

from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Final, final

from wasmpool_host import _capi
from wasmpool_host._errors import GuestMemoryError, GuestTrap
from wasmpool_host._types import FunctionType

from .call_history import CallHistory
from .crossing import ExportCrossing, StartCrossing
from .packed import check_exchange, find_free, find_malloc, has_malloc, pack, unpack
from .signature import Signature
from .stepped_exchange import SteppedExchange

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmpool_host._engine import Engine

    from .fiber import Fiber
    from .linked_module import LinkedModule
    from .pending import Pending
    from .stepwise import Steps

__all__ = ["Exchange"]

_SMALLEST: Final = 1_024
"""Bytes of the first buffer: enough for most calls, so that it is not grown step by step."""

_LARGEST: Final = (1 << 32) - 1
"""Bytes that ``malloc`` can be asked for."""

_MOST_HELPERS: Final = 100
"""Exports with a helper in one instance: helpers are instances, and a store has room for 1,000."""

_put_pointer: Final = Struct("<I").pack_into
_put_region: Final = Struct("<II").pack_into
"""Writes a packed region as an argument: its size, then its pointer."""
_take_region: Final = Struct("<II").unpack_from
_FIRST: Final = _capi.FIRST_VALUE
_SECOND: Final = _capi.FIRST_VALUE + _capi.VALUE_SIZE

_WITH_PAYLOAD: Final = Signature(FunctionType(("i32", "i64"), ("i64",)), "the exchange helper")
_WITHOUT: Final = Signature(FunctionType(("i32",), ("i64",)), "the exchange helper")


@final
class Helper:
    """The helper linked to one export of one instance."""

    __slots__ = ("_freeing", "crossing")

    def __init__(self, crossing: ExportCrossing, freeing: object) -> None:
        self.crossing = crossing
        self._freeing = freeing

    def trapped_freeing(self, fiber: Fiber) -> bool:
        """Return True if its last trap was that of the free, not that of the export."""
        return _capi.read_global_i32(fiber.store.context, self._freeing) == 1


@final
class Route:
    """An export that exchanges bytes, with its helper; its type was checked."""

    __slots__ = ("crossing", "helped", "helper", "is_direct", "owed_before", "takes_payload")

    def __init__(self, crossing: ExportCrossing) -> None:
        self.crossing = crossing
        self.takes_payload = crossing.signature.params.count == 1
        self.is_direct = self.takes_payload and not crossing.is_program
        """True if `Exchange.start` may make the crossing itself."""
        self.helper: Helper | None = None
        self.helped: ExportCrossing | None = None
        """The helper's own crossing, which frees before it calls."""
        self.owed_before = False
        """True if a result was owed at an earlier call, too."""


@final
class Exchange(SteppedExchange):
    """One instance's side of the packed ABI."""

    # Invariants:
    # - the guest's [_buffer, _buffer + _capacity) is the host's, from its malloc
    # - `_room` is what a payload may have in this buffer: the smaller of `_capacity` and `_limit`
    # - `_owed` is a result that the guest has not been asked to free yet, or 0; it stays owed where
    #   the crossing that would free it is cancelled before it begins
    # - `_keeps` implies that nothing is owed and that nothing will be freed any more

    __slots__ = (
        "_buffer",
        "_capacity",
        "_engine",
        "_free",
        "_helpers",
        "_keeps",
        "_limit",
        "_module",
        "_owed",
        "_resolve",
        "_room",
        "_routes",
    )  # fmt: skip

    def __init__(
        self,
        fiber: Fiber,
        module: LinkedModule,
        engine: Engine,
        resolve: Callable[[str], ExportCrossing],
    ) -> None:
        super().__init__(fiber)
        self._module = module
        self._engine = engine
        self._resolve = resolve
        self._free = find_free(module)
        self._limit = module.limits.payload
        self._keeps = self._free is None
        self._buffer, self._capacity = module.exchange_buffer
        self._room = min(self._capacity, self._limit)
        self._owed = 0
        self._routes: dict[str, Route] = {}
        self._helpers = 0

    def start(self, name: str, payload: bytes | None) -> bytes | Pending:
        """Run the first slices of `Instance.exchange`; return its result, or PENDING.

        Most exchanges pass a few bytes to an export that was called before, so their way is
        written out here: the arguments are packed at once, without a check of what is known.
        """
        route = self._routes.get(name) or self._known_route(name)
        if type(payload) is not bytes or route is None or not route.is_direct:
            return self._begin(self._prepare_and_run(name, payload))
        # 1. Nothing needs to be done before: the buffer has room, and the helper frees, if at all.
        size, buffer, owed = len(payload), self._buffer, self._owed
        crossing = route.helped if owed else route.crossing
        if crossing is None or not 0 < size <= self._room:
            return self._begin(self._prepare_and_run(name, payload))
        # 2. Write the payload, and the arguments.
        fiber = self._fiber
        if not fiber.store.write(buffer, payload):
            raise self._outside(buffer, size, "the buffer of its malloc")
        if owed:
            _put_pointer(crossing.args, _FIRST, owed)
            _put_region(crossing.args, _SECOND, size, buffer)
        else:
            _put_region(crossing.args, _FIRST, size, buffer)
        # 3. Run its first slice.
        try:
            done = fiber.start(crossing)
        except GuestTrap:
            if not self._only_free_trapped(route, crossing):
                raise
            return self._begin(self._run(name, route, route.crossing, (pack(buffer, size),)))
        if not done:
            args = (owed, pack(buffer, size))
            return self._begin(self._run(name, route, crossing, args, begun=True))
        size, ptr = _take_region(crossing.results, _FIRST)
        return self._take_result(name, ptr, size)

    def start_settling(self) -> bytes | Pending:
        """Free the last result, and have a buffer for payloads: all that is left is in `buffer`.

        Returns as `start`, and a result is empty.
        """
        return self._begin(self._settle())

    def _settle(self) -> Steps[bytes]:
        owed, self._owed = self._owed, 0
        if owed:
            yield from self._free_region(owed)
        if not self._buffer and has_malloc(self._module):
            yield from self._grow(_SMALLEST)
        return b""

    @property
    def buffer(self) -> tuple[int, int]:
        """The host's buffer in the guest's memory, and its capacity; (0, 0) if there is none."""
        return self._buffer, self._capacity

    # --- before the export is called ---

    def _known_route(self, name: str) -> Route | None:
        """Return the route to an export whose type was checked for another instance."""
        if name not in self._module.exchanged:
            return None
        route = self._routes[name] = Route(self._resolve(name))
        return route

    def _prepare_and_run(self, name: str, payload: bytes | None) -> Steps[bytes]:
        export = self._resolve(name)
        check_exchange(self._module, name, payload)
        self._module.exchanged.add(name)
        route = self._routes.setdefault(name, Route(export))
        if payload is not None and len(payload) > self._capacity:
            yield from self._grow(len(payload))
        if self._owed and route.helper is None:
            yield from self._help_or_free(name, route)
        crossing, args = self._aim(route, payload)
        return (yield from self._run(name, route, crossing, args))

    def _grow(self, size: int) -> Steps[None]:
        """Get a larger buffer, twice the last one at least, so that this is rare."""
        if self._buffer:
            yield from self._free_region(self._buffer)
            self._buffer = self._capacity = self._room = 0
        capacity = min(max(_SMALLEST, 1 << (size - 1).bit_length()), _LARGEST)
        malloc = self._resolve(find_malloc(self._module))
        ptr = (yield from self._cross(malloc, (capacity,))) & 0xFFFF_FFFF
        if not ptr:
            raise self._refused(f"{malloc.label} of {capacity:,} bytes returned 0")
        self._buffer, self._capacity = ptr, capacity
        self._room = min(capacity, self._limit)

    def _help_or_free(self, name: str, route: Route) -> Steps[None]:
        """Make the helper, or free without it: an export that is called once needs none."""
        if route.owed_before and self._helpers < _MOST_HELPERS:
            route.helper = helper = yield from self._help(name, route)
            route.helped = helper.crossing
            self._helpers += 1
        else:
            route.owed_before = True
            yield from self._free_region(self._owed)
            self._owed = 0

    def _help(self, name: str, route: Route) -> Steps[Helper]:
        self._check()
        fiber, export = self._fiber, route.crossing
        store = fiber.store
        instance = self._engine.exchangers.begin(
            store, store.export(name), store.export(self._free or ""),
            takes_payload=route.takes_payload,
        )  # fmt: skip
        label = f"the exchange helper of {export.label}"
        if not fiber.start(StartCrossing(partial(instance.future), label, CallHistory())):
            yield
        signature = _WITH_PAYLOAD if route.takes_payload else _WITHOUT
        run = ExportCrossing(
            store.arena, instance.export("run"), signature, export.history, export.label
        )
        run.attach(fiber)
        return Helper(run, instance.export("freeing").extern)

    # --- the export's crossing ---

    def _aim(self, route: Route, payload: bytes | None) -> tuple[ExportCrossing, tuple[int, ...]]:
        """Write the payload; return the crossing to make, and its arguments."""
        args: tuple[int, ...] = ()
        if payload is not None:
            size = len(payload)
            if size and not self._fiber.store.write(self._buffer, payload):
                raise self._outside(self._buffer, size, "the buffer of its malloc")
            args = (self._buffer << 32 | size if size else 0,)
        if self._owed and route.helper is not None:
            return route.helper.crossing, (self._owed, *args)
        return route.crossing, args

    def _run(
        self,
        name: str,
        route: Route,
        crossing: ExportCrossing,
        args: tuple[int, ...],
        *,
        begun: bool = False,
    ) -> Steps[bytes]:
        """Make the crossing, or its rest; if the free in it trapped, make one without the free."""
        try:
            packed = yield from (self._rest(crossing) if begun else self._cross(crossing, args))
        except GuestTrap:
            if not self._only_free_trapped(route, crossing):
                raise
            packed = yield from self._cross(route.crossing, args[1:])
        return self._take_result(name, *unpack(packed))

    def _only_free_trapped(self, route: Route, crossing: ExportCrossing) -> bool:
        """Return True if the free trapped, not the export; then there are no more frees."""
        helper = route.helper
        if helper is None or crossing is not helper.crossing:
            return False
        if not (self._fiber.only_trapped and helper.trapped_freeing(self._fiber)):
            return False
        self._never_free_again()
        return True

    def _take_result(self, name: str, ptr: int, size: int) -> bytes:
        self._owed = 0
        if not size:
            return b""
        if size > self._limit:
            raise self._too_large(name, ptr, size)
        reply = self._fiber.store.read(ptr, size)
        if reply is None:
            raise self._outside(ptr, size, f"the result of {name}")
        inside_buffer = self._buffer - size < ptr < self._buffer + self._capacity
        if not (self._keeps or inside_buffer):
            self._owed = ptr
        return reply

    def _outside(self, ptr: int, size: int, what: str) -> GuestMemoryError:
        total = self._fiber.store.memory_size()
        return self._refused(
            f"{self._module}: {what}, {size:,} bytes at {ptr:#x}, is outside the guest's memory"
            f" of {total:,} bytes"
        )

    def _refused(self, message: str) -> GuestMemoryError:
        error = GuestMemoryError(message)
        self._fiber.poison(error)
        return error

    def _too_large(self, name: str, ptr: int, size: int) -> GuestMemoryError:
        if ptr + size > self._fiber.store.memory_size():
            return self._outside(ptr, size, f"the result of {name}")
        label = self._module.label(name)
        return self._refused(
            f"{label} returned {size:,} bytes, above limits.payload={self._limit:,}"
        )

    # --- crossings ---

    def _free_region(self, ptr: int) -> Steps[None]:
        if self._keeps or self._free is None:
            return
        try:
            yield from self._cross(self._resolve(self._free), (ptr,))
        except GuestTrap:
            if not self._fiber.only_trapped:
                raise
            self._never_free_again()

    def _never_free_again(self) -> None:
        self._keeps = True
        self._owed = 0
        self._fiber.poisoned = None
