"""A component calls its host, and drops the host's resources: what the C callbacks note.

They run on the fiber's stack, as those of a module do (`_instance.host_call`): no calls, no loops.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final, final

from trio.lowlevel import enable_ki_protection

from wasmpool_host import _capi
from wasmpool_host import _capi_component as capi
from wasmpool_host._errors import GuestMemoryError
from wasmpool_host._instance.host_call import HostCall, NestedCall, fibers, host_calls
from wasmpool_host._instance.signature import Signature
from wasmpool_host._instance.unchecked import by_subscript, unchecked
from wasmpool_host._types import FunctionType

from .augmented import BATCH
from .lifting import Incoming

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from .augmented import PairedImport
    from .imported import ImportedFunction
    from .outgoing import Outgoing

__all__ = ["DESTRUCTOR", "ENTRY", "ComponentHostCall"]


@final
class ComponentHostCall(HostCall):
    """A component's call of a host function: its arguments are taken over by the entry callback."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        super().__init__()
        self.taken: bytes = b""
        """The arguments, whose memory this call has to free."""

    def args(self) -> tuple[Any, ...]:
        """Return the arguments; once."""
        function: ImportedFunction = self.function
        store = self.fiber.store
        assert isinstance(store, capi.ComponentStore)
        store.close_dropped()
        memory = None
        try:
            if function.paired is not None:
                memory = function.paired.memory
                store.find_memory(memory)
            return function.signature.lift_args(
                self.taken, Incoming(function.owner, store.payload, store, memory)
            )
        finally:
            self._free()

    @property
    def context(self) -> int:
        """What a component's callback is given."""
        return self.caller

    def answer(self, value: object) -> Awaitable[None] | None:
        """Write the results to where the guest reads them; bytes are left to await."""
        function: ImportedFunction = self.function
        store = self.fiber.store
        assert isinstance(store, capi.ComponentStore)
        out = function.signature.lower_result(value, function.label, store)
        if out is not None:
            if out.copies and function.paired is not None:
                return self._answer_with_bytes(function, function.paired, out)
            self._put(out)
        self.done = True
        return None

    def _put(self, out: Outgoing) -> None:
        try:
            capi.clone_value(out.seal(), self.results_at)
        except GuestMemoryError:  # it has no more handles: the instance ends, and they with it
            out.close_refused()
            raise
        finally:
            out.release()

    async def _answer_with_bytes(
        self, function: ImportedFunction, paired: PairedImport, out: Outgoing
    ) -> None:
        """Copy the bytes of the results into memory of the guest's own allocator first.

        Raises:
            GuestMemoryError: what this returns is outside of the memory.
            GuestTrap, BaseException: as the call of the allocator ends.
        """
        try:
            for first in range(0, len(out.copies), BATCH):
                batch = out.copies[first : first + BATCH]
                pointers = await self._allocated(paired, [len(content) for _, content in batch])
                for (at, content), pointer in zip(batch, pointers, strict=True):
                    self._copy(function, paired.memory, pointer, content)
                    out.put_pointer(at, pointer)
        except BaseException:  # the instance ends before it has handles
            out.close_refused()
            raise
        self._put(out)
        self.done = True

    async def _allocated(self, paired: PairedImport, sizes: Sequence[int]) -> Sequence[int]:
        """Call the guest's allocator, which it would not let in as a component."""
        store: Any = self.fiber.store
        assert paired.realloc is not None
        assert paired.allocate is not None
        # During the start there is no instance yet that can do it for several.
        if len(sizes) > 1 and store.started and store.find_shown((paired.allocate,)):
            given = (len(sizes), *sizes, *[0] * (BATCH - len(sizes)))
            found = await self._nested(store.shown(paired.allocate), _SEVERAL, given)
            return [pointer & _LOW for pointer in found[: len(sizes)]]
        store.find_shown((paired.realloc,))
        realloc = store.shown(paired.realloc)
        return [(await self._nested(realloc, _ONE, (0, 0, 1, size))) & _LOW for size in sizes]

    async def _nested(self, function: Any, signature: Signature, args: Sequence[int]) -> Any:
        nested = NestedCall(function, signature, args, _ALLOCATOR)
        return await self.fiber.call_back(self, nested, _ALLOCATOR)

    def _copy(
        self,
        function: ImportedFunction,
        memory: int,
        pointer: int,
        content: bytes | bytearray | memoryview,
    ) -> None:
        store: Any = self.fiber.store
        if not store.write_to(memory, pointer, content):
            raise GuestMemoryError(
                f"the result of {function.label}: {len(content):,} bytes at {pointer:#x},"
                f" from {_ALLOCATOR}, are outside the guest's memory"
            )

    def forget(self) -> None:
        """Free the arguments if they were not read, before the fiber is dropped."""
        super().forget()
        self._free()

    def _free(self) -> None:
        taken, self.taken = self.taken, b""
        if taken:
            values = ctypes.create_string_buffer(taken, len(taken))
            base = ctypes.addressof(values)
            for at in range(base, base + len(taken), capi.VALUE):
                capi.delete_value(at)


_ALLOCATOR: Final = "the guest's allocator"
_ONE: Final = Signature(FunctionType(("i32",) * 4, ("i32",)), _ALLOCATOR)
_SEVERAL: Final = Signature(FunctionType(("i32",) * (1 + BATCH), ("i32",) * BATCH), _ALLOCATOR)
_LOW: Final = (1 << 32) - 1

_ADDRESS_SPACE: Final = _capi.ADDRESS_SPACE
_CONTENT: Final[Any] = capi.CONTENT
_CONTINUATION_SIZE: Final = _capi.CONTINUATION_SIZE
_context_data: Final = by_subscript(_capi.context_data)


@enable_ki_protection
@unchecked
def note_entry(
    env: int | None, context: int, _type: int, args: int | None, _nargs: int, results: int,
    _nresults: int, _error: int, continuation: int,
) -> None:  # fmt: skip
    """Note which function the guest calls, take its arguments, and make the guest wait."""
    fiber = fibers[_context_data[context]]
    call: Any = fiber.next_call
    fiber.next_call = None
    call.fiber = fiber
    call.function = function = fiber.functions[env or 0]
    call.caller = context
    if function.size:  # type: ignore[attr-defined]  # a component's
        end = args + function.size  # type: ignore[attr-defined]  # as above
        call.taken = _CONTENT[args:end]
        _ADDRESS_SPACE[args:end] = function.blank  # type: ignore[attr-defined]  # as above
    call.results_at = results
    host_calls[call.key] = call
    fiber.host_calls += (call,)
    fiber.pending = call
    _ADDRESS_SPACE[continuation : continuation + _CONTINUATION_SIZE] = call.continuation
    call.continuation = b""


@enable_ki_protection
@unchecked
def note_drop(_env: int | None, context: int, rep: int) -> int:
    """Note which host resource the guest drops: it is closed when the guest next waits or ends."""
    store: Any = fibers[_context_data[context]].store
    store.dropped += (rep,)
    return 0


ENTRY: Final = capi.ENTRY(note_entry)
"""The callback that is linked for each host function, with the function's index as its env."""
DESTRUCTOR: Final = capi.DESTRUCTOR(note_drop)
"""The callback that is linked for each host resource."""
