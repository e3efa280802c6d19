"""What a library that is built on this one needs, and an application does not.

`wasmpool` is such a library. It starts instances and calls step by step, counts the trio thread's
time, runs blocking calls in threads, and looks at modules before they are compiled. As in
`trio.lowlevel`, the names here are public and documented, but they ask for more care: a wrong use
holds up the loop, or leaks an instance.

**Instances, step by step.** `DrivenModule` makes each `DrivenInstance` of a module, which is an
`Instance` with more methods. Those named ``start`` or ``start_...`` do what one slice is enough
for, in one plain step, and return the result; or `PENDING`, where the guest is not done yet. The
caller then awaits ``finish``, which returns or raises what the whole does.

**The trio thread's time.** A call's first slice runs on the trio thread. `budget_of_this_run` is
the `LoopBudget` that adds these slices up. Code that does similar work on the loop adds its own
time to ``LoopBudget.spent``, and from `SOFT_LIMIT` on asks ``LoopBudget.is_exhausted``; a
`LoopShare` does both for work that is done in pieces.

**The Python stack.** `check_headroom` raises RecursionError before anything has begun, where it is
harmless; `has_headroom` says if there is room to begin a call for another task.

**Blocking calls.** `BlockingCalls` runs the calls of one kind in threads that no other kind waits
for; `TooManyAbandoned` is raised where too many cancelled ones still block.

**Modules that are not compiled yet.** `Source` is what a module is compiled from, with its digest;
`Module.compile` takes one, too. `outline` reads the imports and exports of a valid binary, and
`provide` finds the host functions for them.

**Memory that slots keep.** `give_back_kept_memory` gives the memory that free slots keep for the
next instances back to the kernel. `slots_keeping_memory` and `instances_opened` say when: if there
is some, and no instance was opened for a while. `give_back_when_none_is_open` does it at once
where all instances in slots are closed.

**HTTP of components.** `wasi_http_handler` makes the host function of `WASI_HTTP_HANDLE`: it gives
each whole `WasiHttpRequest` of a component to a function, which returns the `WasiHttpReply` or
raises `WasiHttpFailure`.

**Extism plugins.** `compile_extism` compiles a module whose instances have an Extism kernel beside
them, and `kernel_imports` is what it may import of that. `KernelAccess` is what the host functions
of ``extism:host/env`` use of it.

**Messages.** `escaped` and `shown` make untrusted text and values fit for a log and for an error.
`check_process` refuses a forked child, and `check_trio` a caller outside of a trio run, in words
that say what to do.
"""

from __future__ import annotations

from importlib import import_module
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from ._compile.binary import Outline, outline
from ._compile.source import Source
from ._engine import check_process
from ._escape import escaped
from ._free_slots import (
    give_back_kept_memory,
    give_back_when_none_is_open,
    instances_opened,
    slots_keeping_memory,
)
from ._in_trio import check_trio
from ._instance.driven_instance import DrivenInstance
from ._instance.pending import PENDING, Pending
from ._linking import provide
from ._module import DrivenModule
from ._scheduling.blocking_calls import BlockingCalls, TooManyAbandoned
from ._scheduling.headroom import check_headroom, has_headroom
from ._scheduling.loop_budget import SOFT_LIMIT, LoopBudget, budget_of_this_run
from ._scheduling.loop_share import LoopShare
from ._shown import shown

if TYPE_CHECKING:
    from ._extism.access import KernelAccess
    from ._extism.compile import compile_extism, kernel_imports
    from ._wasi_p2.http_handler import (
        WASI_HTTP_HANDLE,
        WasiHttpFailure,
        WasiHttpReply,
        WasiHttpRequest,
        wasi_http_handler,
    )

__all__ = [
    "PENDING",
    "SOFT_LIMIT",
    "WASI_HTTP_HANDLE",
    "BlockingCalls",
    "DrivenInstance",
    "DrivenModule",
    "KernelAccess",
    "LoopBudget",
    "LoopShare",
    "Outline",
    "Pending",
    "Source",
    "TooManyAbandoned",
    "WasiHttpFailure",
    "WasiHttpReply",
    "WasiHttpRequest",
    "budget_of_this_run",
    "check_headroom",
    "check_process",
    "check_trio",
    "compile_extism",
    "escaped",
    "give_back_kept_memory",
    "give_back_when_none_is_open",
    "has_headroom",
    "instances_opened",
    "kernel_imports",
    "outline",
    "provide",
    "shown",
    "slots_keeping_memory",
    "wasi_http_handler",
]

_WASI_HTTP: Final = "wasmpool_host._wasi_p2.http_handler"

_LATER: Final = {
    "WASI_HTTP_HANDLE": _WASI_HTTP,
    "WasiHttpFailure": _WASI_HTTP,
    "WasiHttpReply": _WASI_HTTP,
    "WasiHttpRequest": _WASI_HTTP,
    "wasi_http_handler": _WASI_HTTP,
    "KernelAccess": "wasmpool_host._extism.access",
    "compile_extism": "wasmpool_host._extism.compile",
    "kernel_imports": "wasmpool_host._extism.compile",
}
"""Names that are imported at their first use, as few programs need them."""


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        thing = globals()[name] = _at_home(getattr(import_module(_LATER[name]), name))
        return thing


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _at_home(thing: Any) -> Any:
    """Have it read ``wasmpool_host.lowlevel.Source``, wherever it is defined."""
    if isinstance(thing, (type, FunctionType)):
        thing.__module__ = __name__
    return thing


def _bring_home() -> None:
    for name in __all__:
        if name not in _LATER:
            _at_home(globals()[name])


_bring_home()
