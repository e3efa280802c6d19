"""Wasmtime's engines, which compile the modules of the process and run their guests.

There is one engine for each size of a guest's stack (`Limits.stack`), and mostly only one. Each
stays for the process, so there is one set of compiler threads, and a module may be used in any trio
run. An engine is of no use in a forked child, which has neither these threads nor that of a ticker:
a guest there would hang.
"""

from __future__ import annotations

import faulthandler
import os
import threading
from typing import TYPE_CHECKING, final

from . import _capi

if TYPE_CHECKING:
    import wasmtime

__all__ = ["Engine", "advance_epochs", "check_faulthandler", "check_process", "engine_of"]

_lock = threading.Lock()
_engines: dict[int, Engine] = {}
_pointers: tuple[int, ...] = ()
_faulthandler = False
"""Whether it was on when the first engine was made."""
_forked = False


@final
class Engine:
    """An engine, and what is compiled by it for the exchange of bytes."""

    def __init__(self, stack: int) -> None:
        self.wasmtime: wasmtime.Engine = _capi.new_engine(stack)
        self.pointer: int = _capi.raw(self.wasmtime)
        self.exchangers: _capi.Exchangers = _capi.Exchangers(self.wasmtime)


def engine_of(stack: int) -> Engine:
    """Return the engine for guests that may use ``stack`` bytes of stack; make it once."""
    global _faulthandler, _pointers  # noqa: PLW0603 - of the process
    with _lock:
        if stack not in _engines:
            if not _engines:
                _faulthandler = faulthandler.is_enabled()
            engine = _engines[stack] = Engine(stack)
            _pointers += (engine.pointer,)
        return _engines[stack]


def advance_epochs() -> None:
    """Make each guest yield that has run since the last time, at its next loop or call."""
    for pointer in _pointers:
        _capi.increment_epoch(pointer)


def check_faulthandler() -> None:
    """Raise RuntimeError where the next out-of-bounds trap would end the process.

    Wasmtime installs its signal handlers with the first engine. When faulthandler is switched
    later, it puts its own handlers in front of them, or removes them.
    """
    if _engines and faulthandler.is_enabled() != _faulthandler:
        now, then = ("on", "off") if faulthandler.is_enabled() else ("off", "on")
        message = (
            f"faulthandler was switched {now} after the first module was compiled (it was"
            f" {then}): a guest's out-of-bounds access would end the process. Call"
            " faulthandler.enable() before the first Module.compile, and leave it"
        )
        raise RuntimeError(message)


def check_process() -> None:
    """Raise RuntimeError in a forked child. Call it before any checkpoint.

    The child of a fork inside a trio run shares the loop's epoll with its parent: an event that the
    child takes from it, by a single checkpoint, is lost for the parent.
    """
    if _forked:
        message = (
            "this process was forked from one that had used wasmpool, and wasm cannot run in"
            ' it: start it with multiprocessing.get_context("spawn"), or by subprocess'
        )
        raise RuntimeError(message)


def _after_fork() -> None:
    global _forked  # noqa: PLW0603 - of the process
    _forked = bool(_engines)


os.register_at_fork(after_in_child=_after_fork)
