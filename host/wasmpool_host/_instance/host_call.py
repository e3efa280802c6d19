"""The guest calls its host, and the host calls back: what the two C callbacks note and do.

The callbacks run on the fiber's stack. They may not raise, and nothing else of the program may run
in the middle of them. So they only take notes, without a call (`unchecked`). The essay of `fiber`
says how the task continues from there.
"""

from __future__ import annotations

import ctypes
import itertools
from typing import TYPE_CHECKING, Any, Final, final

from trio.lowlevel import enable_ki_protection

from wasmpool_host import _capi

from .unchecked import by_subscript, unchecked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from .fiber import Fiber
    from .signature import Results, Signature, Value

__all__ = [
    "ENTRY",
    "HostCall",
    "NestedCall",
    "fibers",
    "host_calls",
    "new_key",
]

# Of all threads. Each changes and reads its own entries only, in single operations: no lock is
# needed, also without the interpreter's.
_keys = itertools.count(1)
fibers: dict[int, Fiber] = {}
"""All fibers by the key of their store, for the entry callback."""
host_calls: dict[int, HostCall] = {}
"""All host calls by their own key, for the continuation callback."""


def new_key() -> int:
    """Return a number that stands for a fiber or a host call in C."""
    return next(_keys)  # one step, also for threads without the interpreter's lock


@final
class NestedCall:
    """A call that a host function makes back into its guest."""

    __slots__ = ("_args", "_extern", "_results", "_signature", "errors", "finished", "future")

    def __init__(
        self, extern: Any, signature: Signature, args: Sequence[object], label: str
    ) -> None:
        self._extern = extern
        self._signature = signature
        self._args = signature.params.buffer()
        signature.params.put(self._args, args, label)
        self._results = signature.results.buffer()
        self.errors: bytearray = _capi.new_errors()
        self.future: int = 0
        self.finished: bool = False

    def begin(self, context: int) -> None:
        """Make the future. The continuation callback of the waiting host call polls it."""
        at = _capi.address(self.errors)
        pointer, number = _capi.pointer, _capi.number
        self.future = _capi.call_async(
            pointer(context), pointer(_capi.func_at(self._extern)),
            pointer(_capi.address(self._args)), number(self._signature.params.count),
            pointer(_capi.address(self._results)), number(self._signature.results.count),
            pointer(at), pointer(at + ctypes.sizeof(ctypes.c_void_p)),
        )  # fmt: skip

    def drop(self) -> None:
        if self.future:
            _capi.delete_future(self.future)
            self.future = 0

    def take_results(self) -> Results:
        return self._signature.take_results(self._results)


class HostCall:
    """A guest's call of a host function: what the entry callback noted, and the results.

    It is made before the guest calls, and filled in by the entry callback.
    """

    __slots__ = (
        "args_at", "caller", "continuation", "done", "dropped", "fiber", "function", "key",
        "nested", "results_at", "returned",
    )  # fmt: skip

    fiber: Fiber
    function: Any  # a host function, as the module or the component imports it
    caller: int
    args_at: int
    results_at: int

    def __init__(self) -> None:
        self.key: int = new_key()
        self.continuation: bytes = _capi.write_continuation(_CONTINUE_AT, self.key, 0)
        self.nested: NestedCall | None = None
        self.done: bool = False
        """The results are written."""
        self.returned: bool = False
        """The host function has ended, and its caller's right to touch the guest with it."""
        self.dropped: bool = False
        """Its fiber is unwound: the guest does not continue."""

    def args(self) -> tuple[Value, ...]:
        """Return the arguments; once, as they are read from the guest's stack."""
        params, at = self.function.signature.params, self.args_at
        self.args_at = 0  # keeps no int: many calls may wait, and for long
        return params.take(ctypes.string_at(at, params.size)) if params.count else ()

    @property
    def context(self) -> int:
        """The store's context, for nested calls."""
        context: int = _capi.caller_context(self.caller)
        return context

    def answer(self, value: object) -> Awaitable[None] | None:
        """Write the results to where the guest reads them; return what is left to await, or None.

        That makes nested calls.
        """
        signature = self.function.signature
        buffer = signature.results.buffer()
        signature.put_results(buffer, value, f"host function {self.function}")
        ctypes.memmove(self.results_at, bytes(buffer), len(buffer))
        self.done = True
        return None

    def forget(self) -> None:
        """Drop the nested call, before the fiber is dropped."""
        self.dropped = True
        if self.nested is not None:
            self.nested.drop()
        host_calls.pop(self.key, None)


_ADDRESS_SPACE: Final = _capi.ADDRESS_SPACE
_CONTINUATION_SIZE: Final = _capi.CONTINUATION_SIZE
_caller_context: Final = by_subscript(_capi.caller_context)
_context_data: Final = by_subscript(_capi.context_data)
_poll: Final = by_subscript(_capi.poll)


@enable_ki_protection
@unchecked
def note_entry(
    env: int | None, caller: int, args: int, _nargs: int, results: int, _nresults: int,
    _trap: int, continuation: int,
) -> None:  # fmt: skip
    """Note which function the guest calls, and make the guest wait."""
    fiber = fibers[_context_data[_caller_context[caller]]]
    call = fiber.next_call
    assert call is not None
    fiber.next_call = None
    call.fiber = fiber
    call.function = fiber.functions[env or 0]
    call.caller = caller
    call.args_at = args
    call.results_at = results
    host_calls[call.key] = call
    fiber.host_calls += (call,)
    fiber.pending = call
    _ADDRESS_SPACE[continuation : continuation + _CONTINUATION_SIZE] = call.continuation
    call.continuation = b""  # keeps no bytes, as with `args_at`


@enable_ki_protection
@unchecked
def continue_call(key: int) -> bool:
    """Return True if the host call is done; else poll the call that is nested in it, if any."""
    call = host_calls[key]
    try:
        if call.done:
            del host_calls[key]
            del call.fiber.host_calls[-1]  # the innermost: no other is ever answered
            return True
        nested = call.nested
        if nested is not None and not nested.finished:
            nested.finished = _poll[nested.future]
    except BaseException as error:  # noqa: BLE001 - the task raises it
        call.fiber.failure = error
    return False


_CONTINUATION: Final = _capi.CONTINUATION(continue_call)
_CONTINUE_AT: Final = ctypes.cast(_CONTINUATION, ctypes.c_void_p).value
ENTRY: Final = _capi.ENTRY(note_entry)
"""The callback that is linked for each host function, with the function's index as its env."""
