"""Wasmtime's engines, which compile the modules of the process and run their guests.

There is an ordinary engine and a pooled one for each size of a guest's stack (`Limits.stack`), and
mostly only one size. The pooled one has its memory maps made beforehand, in slots, so that an
instance costs half as much there. It has room for some hundred instances. An instance that finds no
slot free, or whose module does not fit into one, is made in the ordinary engine, which maps memory
for each. Modules whose memory is full of data have a second pooled engine, with `WIDE_SLOTS`. A
pooled engine is missing where there is too little address space for its slots.

Components have one more engine, an ordinary one, with settings of their own.

Each engine stays for the process, so there is one set of compiler threads, and a module may be used
in any trio run. An engine is of no use in a forked child, which has neither these threads nor that
of a ticker: a guest there would hang.
"""

from __future__ import annotations

import faulthandler
import logging
import mmap
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, final

from . import _capi

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import wasmtime

__all__ = [
    "DEEP_CALLS",
    "SLOTS",
    "WIDE_SLOTS",
    "Engine",
    "advance_epochs",
    "check_faulthandler",
    "check_process",
    "component_engine_of",
    "engine_of",
    "free_slots",
    "pooled_engine_of",
    "pooled_engines",
]

SLOTS: Final = _capi.Slots(
    instances=256,
    memory=1 << 32,  # any that is addressed by 32 bits
    table=100_000,  # as in `Limits`
    stacks=2 * 256 + 128,  # of each instance's call, of a call nested in it, and of deeper ones
    kept_memory=1 << 17,  # cleared by the process: a page that the kernel takes is faulted in again
    kept_table=1 << 13,
    kept_stack=1 << 14,
    warm=64,
)
"""What a pooled engine has room for.

Each slot and each stack that was ever used keeps memory: `kept_memory` in all slots is 32 MiB,
which `_free_slots` gives back when no instance is opened for a while; the rest is 12 MiB at most.
"""

WIDE_SLOTS: Final = _capi.Slots(
    instances=64,
    memory=1 << 32,
    table=100_000,
    stacks=2 * 64 + 128,
    kept_memory=1 << 21,
    kept_table=1 << 13,
    kept_stack=1 << 14,
    warm=32,
)
"""The slots of modules whose memory is full of data, as that of an interpreter's snapshot.

An instance of these writes to many pages, and to clear all of the memory takes less time than to
fault in the pages that were written to: QuickJS with a library takes 0.4 of the time.
"""

DEEP_CALLS: Final = 128
"""Nested calls, beyond one in each instance, for which a pooled engine has stacks."""

_MAP_NORESERVE: Final = 0x4000

_log: Final = logging.getLogger("wasmpool.engine")

_lock = threading.Lock()
_engines: dict[int, Engine] = {}
_pooled: dict[tuple[int, _capi.Slots], Engine | None] = {}
_of_components: dict[int, Engine] = {}
_pointers: tuple[int, ...] = ()
"""Of all engines, for tickers: replaced as a whole, and never changed."""
_faulthandler: bool | None = None
"""Whether it was on when the first engine was made; None before that."""
_forked = False


@final
class Engine:
    """An engine, and what is compiled by it for the exchange of bytes."""

    def __init__(
        self,
        stack: int,
        slots: _capi.Slots | None = None,
        settings: Mapping[str, bool] = _capi.SETTINGS,
    ) -> None:
        self.wasmtime: wasmtime.Engine = _capi.new_engine(stack, slots, settings)
        self.pointer: int = _capi.raw(self.wasmtime)
        self.pointer_at: Any = _capi.pointer(self.pointer)
        self.exchangers: _capi.Exchangers = _capi.Exchangers(self.wasmtime)
        self.is_pooled: bool = slots is not None
        self.slots: _capi.Slots = slots or SLOTS
        """Of a pooled engine: what it has room for."""
        self.free_slots: int = 0 if slots is None else slots.instances
        """Slots that no instance has; `open_instances` counts them."""
        self.kept_slots: int = 0
        """Slots that were in use at the same time since their memory was last given back."""
        self._lock = threading.Lock()
        self._deep_calls = 0

    @contextmanager
    def deep_call(self) -> Iterator[None]:
        """Have a stack for a call that is nested in a nested call.

        So guests that nest deeply cannot take the stacks of others.

        Raises:
            MemoryError: there is none left.
        """
        with self._lock:
            if self.is_pooled and self._deep_calls >= DEEP_CALLS:
                message = (
                    f"{DEEP_CALLS} calls of guests are nested in nested calls, and there are no"
                    " stacks for more"
                )
                raise MemoryError(message)
            self._deep_calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._deep_calls -= 1


def engine_of(stack: int) -> Engine:
    """Return the ordinary engine for guests with ``stack`` bytes of stack; make it once."""
    global _faulthandler  # noqa: PLW0603 - of the process
    with _lock:
        if stack not in _engines:
            if _faulthandler is None:
                _faulthandler = faulthandler.is_enabled()
            _engines[stack] = _ticking(Engine(stack))
        return _engines[stack]


def component_engine_of(stack: int) -> Engine:
    """Return the engine for components with ``stack`` bytes of stack; make it once.

    It is one of their own: the engines of modules stay as they are, and so do their caches.
    """
    from . import _capi_component  # noqa: PLC0415 - it is imported with the first component

    engine_of(stack)  # the first engine of all is an ordinary one
    with _lock:
        if stack not in _of_components:
            made = Engine(stack, settings=_capi_component.SETTINGS)
            _of_components[stack] = _ticking(made)
        return _of_components[stack]


def pooled_engine_of(stack: int, slots: _capi.Slots = SLOTS) -> Engine | None:
    """Return the pooled engine for such guests; None where there is no room for its slots."""
    key = stack, slots
    with _lock:
        if key not in _pooled:
            size = slots.address_space(stack)
            _pooled[key] = _ticking(Engine(stack, slots)) if _has_room(size) else None
        return _pooled[key]


def pooled_engines() -> list[Engine]:
    """Return the pooled engines that there are."""
    engines = list(_pooled.values())  # in one step: another thread may make an engine meanwhile
    return [engine for engine in engines if engine is not None]


def free_slots() -> int:
    """Return how many slots of all pooled engines no instance has."""
    return sum(engine.free_slots for engine in pooled_engines())


def _ticking(engine: Engine) -> Engine:
    global _pointers  # noqa: PLW0603 - of the process
    _pointers += (engine.pointer,)
    return engine


def _has_room(size: int) -> bool:
    """Return True if this much address space can be taken; Wasmtime would abort the process."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    try:
        mmap.mmap(-1, size, flags=flags, prot=0).close()
    except (OSError, ValueError, OverflowError) as error:
        _log.info(
            "instances are made without slots: no %s GiB of address space (%s)", size >> 30, error
        )
        return False
    return True


def advance_epochs() -> None:
    """Make each guest yield that has run since the last time, at its next loop or call."""
    for pointer in _pointers:
        _capi.increment_epoch(pointer)


def check_faulthandler() -> None:
    """Raise RuntimeError where the next out-of-bounds trap would end the process.

    Wasmtime installs its signal handlers with the first engine. When faulthandler is switched
    later, it puts its own handlers in front of them, or removes them.
    """
    then_on = _faulthandler
    if then_on is not None and faulthandler.is_enabled() != then_on:
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
