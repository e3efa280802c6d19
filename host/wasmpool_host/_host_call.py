"""The guest calls its host, and the host calls back: what the two C callbacks note and do.

They run on the fiber's stack, and may not raise: `_fiber` says why, and how the task goes on
from here.
"""

from __future__ import annotations

import ctypes
import itertools
from typing import TYPE_CHECKING, Any, Final, final

from trio.lowlevel import enable_ki_protection

from . import _capi

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._fiber import Fiber
    from ._host_function import HostFunction
    from ._signature import Results, Signature

__all__ = ["ENTRY", "HostCall", "Nested", "fibers", "host_calls", "new_key"]

_keys = itertools.count(1)
fibers: dict[int, Fiber] = {}
"""By the key of their store, for the entry callback."""
host_calls: dict[int, HostCall] = {}
"""By their own key, for the continuation callback."""


def new_key() -> int:
    """Names a fiber, or a host call, to C."""
    return next(_keys)


@final
class Nested:
    """A call that a host function makes back into its guest."""

    __slots__ = ("_args", "_errors", "_extern", "_future", "_results", "_signature", "finished")

    def __init__(
        self, extern: Any, signature: Signature, args: Sequence[object], label: str
    ) -> None:
        self._extern = extern
        self._signature = signature
        self._args = signature.params.buffer()
        signature.params.put(self._args, args, label)
        self._results = signature.results.buffer()
        self._errors = _capi.new_errors()
        self._future: int = 0
        self.finished: bool = False

    def poll(self, caller: int) -> None:
        """On the fiber's stack, by the continuation callback."""
        if not self._future:
            self._begin(_capi.caller_context(caller))
        if _capi.poll(self._future):
            self.drop()
            self.finished = True

    def _begin(self, context: int) -> None:
        at = _capi.address(self._errors)
        pointer, number = _capi.pointer, _capi.number
        self._future = _capi.call_async(
            pointer(context), pointer(_capi.func_at(self._extern)),
            pointer(_capi.address(self._args)), number(self._signature.params.count),
            pointer(_capi.address(self._results)), number(self._signature.results.count),
            pointer(at), pointer(at + ctypes.sizeof(ctypes.c_void_p)),
        )  # fmt: skip

    def drop(self) -> None:
        if self._future:
            _capi.delete_future(self._future)
            self._future = 0

    def take_stop(self) -> _capi.Stop | None:
        return _capi.take_stop(self._errors)

    def take_results(self) -> Results:
        return self._signature.take_results(self._results)


@final
class HostCall:
    """The guest waits in a host function: what the entry callback noted, and the answer."""

    __slots__ = (
        "_args", "_results", "caller", "done", "dropped", "fiber", "function", "key", "nested"
    )  # fmt: skip

    def __init__(self, fiber: Fiber, function: int, caller: int, args: int, results: int) -> None:
        self.key: int = new_key()
        self.fiber: Fiber = fiber
        self.function: HostFunction = fiber.functions[function]
        self.caller: int = caller
        self._args = args
        self._results = results
        self.nested: Nested | None = None
        self.done: bool = False
        self.dropped: bool = False

    def args(self) -> tuple[int | float, ...]:
        params = self.function.signature.params
        return params.take(ctypes.string_at(self._args, params.size)) if params.count else ()

    def answer(self, value: object) -> None:
        """Write the results where the guest will find them."""
        signature = self.function.signature
        buffer = signature.results.buffer()
        signature.put_results(buffer, value, f"host function {self.function}")
        ctypes.memmove(self._results, bytes(buffer), len(buffer))
        self.done = True

    def forget(self) -> None:
        """Its fiber is about to be dropped; what a nested call holds goes first."""
        self.dropped = True
        if self.nested is not None:
            self.nested.drop()
        host_calls.pop(self.key, None)


@_capi.ENTRY
@enable_ki_protection
def _host_entry(
    env: int | None, caller: int, args: int, _nargs: int, results: int, _nresults: int,
    _trap: int, continuation: int,
) -> None:  # fmt: skip
    fiber = fibers[_capi.context_data(_capi.caller_context(caller))]
    call = HostCall(fiber, env or 0, caller, args, results)
    host_calls[call.key] = call
    fiber.open.append(call)
    fiber.pending = call
    note = _capi.write_continuation(_CONTINUE_AT, call.key, 0)
    ctypes.memmove(continuation, note, _capi.CONTINUATION_SIZE)


@_capi.CONTINUATION
@enable_ki_protection
def _host_continue(key: int) -> bool:
    call = host_calls[key]
    try:
        if call.done:
            del host_calls[key]
            call.fiber.open.pop()  # the innermost, for only it is ever answered
            return True
        if call.nested is not None and not call.nested.finished:
            call.nested.poll(call.caller)
    except BaseException as error:  # noqa: BLE001 - the task raises it
        call.fiber.failure = error
    return False


_CONTINUE_AT: Final = ctypes.cast(_host_continue, ctypes.c_void_p).value
ENTRY: Final = _host_entry
"""What a linker is given for each host function, with the function's index as its env."""
