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

Most crossings end in their first slice, those of an instance's first exchange too, and then the
whole of an exchange is one plain step. So the way through several crossings is written down once,
as generators (`Steps`): they yield where a crossing takes longer than that, and go on, or raise,
when the task has driven it to its end.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, final

from trio.lowlevel import enable_ki_protection

from wasmpool_host import _capi
from wasmpool_host._errors import GuestMemoryError, GuestTrap
from wasmpool_host._types import FunctionType

from .bound import Bound
from .call_history import CallHistory
from .making import Making
from .packed import unpack
from .pending import PENDING
from .signature import Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import TypeAlias, TypeVar

    from wasmpool_host._module import Module

    from .fiber import Fiber
    from .pending import Pending

    T = TypeVar("T")
    Steps: TypeAlias = Generator[None, None, T]

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
class Route:
    """One export's way of exchanging bytes; its type was looked at."""

    __slots__ = ("bound", "helper", "owed_before", "takes_payload")

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self.takes_payload = bound.signature.params.count == 1
        self.helper: Helper | None = None
        self.owed_before = False
        """Whether something was owed at an earlier call, too."""


@final
class Exchange:
    """One instance's side of the packed ABI."""

    # Invariants:
    # - the guest's [_buffer, _buffer + _capacity) is the host's, from its malloc
    # - `_owed` is a result that the guest has not been asked to free yet, or 0; a call that asks
    #   and does not get to it, because it is cancelled in line, leaves it owed
    # - `_keeps` implies that nothing is owed and that nothing will be freed any more
    # - while an exchange is pending, `_steps` are what is left of it, and wait for a crossing

    __slots__ = (
        "_bind", "_buffer", "_capacity", "_fiber", "_free", "_helpers", "_keeps", "_limit",
        "_module", "_owed", "_routes", "_steps",
    )  # fmt: skip

    def __init__(self, fiber: Fiber, module: Module, bind: Callable[[str], Bound]) -> None:
        self._fiber = fiber
        self._module = module
        self._bind = bind
        self._free = module.free()
        self._limit = module.limits.payload
        self._keeps = self._free is None
        self._buffer = 0
        self._capacity = 0
        self._owed = 0
        self._routes: dict[str, Route] = {}
        self._helpers = 0
        self._steps: Steps[bytes] | None = None

    def start(self, name: str, payload: bytes | None) -> bytes | Pending:
        """Exchange, as far as that goes in one step; see `Instance.exchange`."""
        route = self._routes.get(name)
        if route is None or not self._is_ready(route, payload):
            return self._begin(self._prepare_and_run(name, payload))
        crossing, args = self._aim(route, payload)
        try:
            packed = crossing.start(args)
        except GuestTrap:
            if not self._pardons(route, crossing):
                raise
            return self._begin(self._run(name, route, route.bound, args[1:]))
        if packed is PENDING:
            return self._begin(self._run(name, route, crossing, args, begun=True))
        return self._take_result(name, packed)  # type: ignore[arg-type]  # one integer, as checked

    def _begin(self, steps: Steps[bytes]) -> bytes | Pending:
        try:
            next(steps)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # it is what the steps return
        self._steps = steps
        return PENDING

    @enable_ki_protection
    async def finish(self) -> bytes:
        """The rest of an exchange that is pending."""
        steps, self._steps = self._steps, None
        assert steps is not None
        try:
            while True:
                try:
                    await self._fiber.finish()
                except BaseException as error:  # noqa: BLE001 - the steps raise it, or know better
                    steps.throw(error)
                else:
                    next(steps)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # likewise

    def abandon(self) -> None:
        """There will be no `finish` for the exchange that is pending."""
        self._steps = None

    # --- before the export is called ---

    def _is_ready(self, route: Route, payload: bytes | None) -> bool:
        """Whether nothing has to be done first: look at types, grow the buffer, free."""
        if self._owed and route.helper is None:
            return False
        if type(payload) is bytes:
            size = len(payload)
            return route.takes_payload and size <= self._capacity and size <= self._limit
        return payload is None and not route.takes_payload

    def _prepare_and_run(self, name: str, payload: bytes | None) -> Steps[bytes]:
        bound = self._bind(name)
        self._module.check_exchanges(name, payload)
        route = self._routes.setdefault(name, Route(bound))
        if payload is not None and len(payload) > self._capacity:
            yield from self._grow(len(payload))
        if self._owed and route.helper is None:
            yield from self._help_or_free(name, route)
        crossing, args = self._aim(route, payload)
        return (yield from self._run(name, route, crossing, args))

    def _grow(self, size: int) -> Steps[None]:
        """A larger buffer, twice the last at least, so that growing is rare."""
        if self._buffer:
            yield from self._free_region(self._buffer)
            self._buffer = self._capacity = 0
        capacity = min(max(_SMALLEST, 1 << (size - 1).bit_length()), _LARGEST)
        malloc = self._bind(self._module.malloc())
        ptr = (yield from self._cross(malloc, (capacity,))) & 0xFFFF_FFFF
        if not ptr:
            raise self._refused(f"{malloc.label} of {capacity:,} bytes returned 0")
        self._buffer, self._capacity = ptr, capacity

    def _help_or_free(self, name: str, route: Route) -> Steps[None]:
        """A guest that is called once needs no helper: one is made the second time."""
        if route.owed_before and self._helpers < _MOST_HELPERS:
            route.helper = yield from self._help(name, route)
            self._helpers += 1
        else:
            route.owed_before = True
            yield from self._free_region(self._owed)
            self._owed = 0

    def _help(self, name: str, route: Route) -> Steps[Helper]:
        self._check()
        fiber, bound = self._fiber, route.bound
        store = fiber.store
        making = self._module.engine.exchangers.begin(
            store, store.export(name), store.export(self._free or ""),
            takes_payload=route.takes_payload,
        )  # fmt: skip
        label = f"the exchange helper of {bound.label}"
        if not fiber.start(Making(partial(making.future), label, CallHistory())):
            yield
        signature = _WITH_PAYLOAD if route.takes_payload else _WITHOUT
        run = Bound(fiber, making.export(b"run"), signature, bound.history, bound.label)
        return Helper(run, making.export(b"freeing"))

    # --- the export's crossing ---

    def _aim(self, route: Route, payload: bytes | None) -> tuple[Bound, tuple[int, ...]]:
        """What is to be called with what; the payload is in the guest's memory then."""
        args: tuple[int, ...] = ()
        if payload is not None:
            size = len(payload)
            if size and not self._fiber.store.write(self._buffer, payload):
                raise self._outside(self._buffer, size, "the buffer of its malloc")
            args = (self._buffer << 32 | size if size else 0,)
        if self._owed and route.helper is not None:
            return route.helper.bound, (self._owed, *args)
        return route.bound, args

    def _run(
        self,
        name: str,
        route: Route,
        crossing: Bound,
        args: tuple[int, ...],
        *,
        begun: bool = False,
    ) -> Steps[bytes]:
        """Make the crossing, or the rest of it; once more without the free if that trapped."""
        try:
            packed = yield from (self._rest(crossing) if begun else self._cross(crossing, args))
        except GuestTrap:
            if not self._pardons(route, crossing):
                raise
            packed = yield from self._cross(route.bound, args[1:])
        return self._take_result(name, packed)

    def _pardons(self, route: Route, crossing: Bound) -> bool:
        """Whether it was the free that trapped, and not the export."""
        helper = route.helper
        if helper is None or crossing is not helper.bound:
            return False
        if not (self._fiber.only_trapped and helper.trapped_freeing(self._fiber)):
            return False
        self._never_free_again()
        return True

    def _take_result(self, name: str, packed: int) -> bytes:
        self._owed = 0
        ptr, size = unpack(packed)
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

    def _cross(self, bound: Bound, args: tuple[int, ...]) -> Steps[int]:
        self._check()
        result = bound.start(args)
        if result is PENDING:
            return (yield from self._rest(bound))
        return result or 0  # type: ignore[return-value]  # one integer or nothing

    def _rest(self, bound: Bound) -> Steps[int]:
        """Of a crossing that is pending."""
        yield
        return bound.take() or 0  # type: ignore[return-value]  # likewise

    def _free_region(self, ptr: int) -> Steps[None]:
        if self._keeps or self._free is None:
            return
        try:
            yield from self._cross(self._bind(self._free), (ptr,))
        except GuestTrap:
            if not self._fiber.only_trapped:
                raise
            self._never_free_again()

    def _never_free_again(self) -> None:
        self._keeps = True
        self._owed = 0
        self._fiber.poisoned = None

    def _check(self) -> None:
        """Raise what the last crossing was interrupted with, though it has returned."""
        if self._fiber.interrupted is not None:
            raise self._fiber.interrupted
