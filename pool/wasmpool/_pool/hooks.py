"""Calls to the hooks of a pool's instruments."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, final

import trio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextvars import Context

__all__ = ["Hooks"]

_LOGGER: Final = logging.getLogger("wasmpool")


@final
class Hooks:
    """The instruments of one pool; `Instrument` lists the hooks."""

    __slots__ = ("active", "log_extra", "pool")

    def __init__(self, instruments: Sequence[Any]) -> None:
        self.active: list[Any] = list(instruments)
        """Empty for most pools: then the hot path pays for one test."""
        if self.active:
            from . import statistics  # noqa: F401, PLC0415 - now, not during the first lease
        self.pool: object = None
        """The first argument of each hook."""
        self.log_extra: Mapping[str, object] | None = None
        """Attributes of log records about an instrument."""

    def call(self, hook: str, *args: object) -> None:
        """Call one hook of each instrument that has it."""
        for instrument in tuple(self.active):
            method = getattr(instrument, hook, None)
            if method is not None:
                self._call_one(instrument, method, args)

    def call_in(self, context: Context, hook: str, *args: object) -> None:
        """`call`, in the context of a task that need not be the current one."""
        if _is_in_use(context):
            self.call(hook, *args)
        else:
            context.run(self.call, hook, *args)

    def _call_one(self, instrument: Any, method: Any, args: tuple[object, ...]) -> None:
        try:
            method(self.pool, *args)
        except BaseException:  # callers of the pool must not notice it; Ctrl-C is held back here
            message = "instrument %r raised and is dropped"
            _LOGGER.exception(message, instrument, extra=self.log_extra)
            if instrument in self.active:
                self.active.remove(instrument)


def _is_in_use(context: Context) -> bool:
    """Return True for the context of the current task, which cannot be entered again."""
    try:
        return trio.lowlevel.current_task().context is context
    except RuntimeError:  # the scheduler itself runs this, and not in a task's context
        return False
