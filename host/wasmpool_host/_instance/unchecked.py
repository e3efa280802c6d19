"""Python functions in the middle of which nothing else of the program runs.

The interpreter looks for signals and collects garbage, and so runs handlers and finalizers, at
three places only: where a function begins, after a call, and where a loop jumps back. A callback
on a fiber's stack must not run them. From Python 3.14 on the guard against deep recursion in C
does not know that stack, so a handler could overflow it. And the exception of a handler would end
the process.

So the callbacks are written without calls and loops: a C function is called by a subscript
(`by_subscript`). One place is left, the beginning, and `unchecked` removes that. The handlers and
finalizers run a moment later, on the stack of the thread.

Python 3.11 is different: it may also collect garbage where an object is made. There the guard
counts levels and does not look at the stack, and a fiber's stack is large enough for them
(`_capi.STACK`).

Rejected: to tell the interpreter of the stack (`PyUnstable_ThreadState_SetStackProtection`), in
each callback. That is too late for what runs as the callback begins, there is no cheap way to
learn where the stack is, and four more C calls for each host call cost too much.
"""

from __future__ import annotations

from opcode import opmap
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FunctionType

__all__ = ["by_subscript", "unchecked"]

_Function = TypeVar("_Function", bound="Callable[..., Any]")

_RESUME: Final = opmap["RESUME"]
_AFTER_YIELD_FROM: Final = 2
"""The argument of RESUME after ``yield from``, where the interpreter does not look."""


def unchecked(function: _Function) -> _Function:
    """Change a function so that the interpreter does not look for signals and garbage at its start.

    The function must not make calls or loop: the interpreter would look there.
    """
    changed: FunctionType = function  # type: ignore[assignment]  # one with bytecode
    code = changed.__code__
    bytecode = bytearray(code.co_code)
    for at in range(0, len(bytecode), 2):  # an instruction and its argument; caches are zeros here
        if bytecode[at] == _RESUME:
            bytecode[at + 1] = _AFTER_YIELD_FROM
    changed.__code__ = code.replace(co_code=bytes(bytecode))
    return function


def by_subscript(function: Callable[[int], Any]) -> Any:
    """Return an object whose ``[x]`` calls a C function with x, without a look after the call."""
    return type("BySubscript", (), {"__slots__": (), "__getitem__": staticmethod(function)})()
