"""Calls to the hooks of a pool's instruments."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Hooks"]

_LOGGER: Final = logging.getLogger("wasmpool")


@final
class Hooks:
    """The instruments of one pool; `Instrument` lists the hooks."""

    __slots__ = ("active", "pool")

    def __init__(self, instruments: Sequence[Any]) -> None:
        self.active: list[Any] = list(instruments)
        """Empty for most pools: then the hot path pays for one test."""
        if self.active:
            from . import statistics  # noqa: F401, PLC0415 - now, not during the first lease
        self.pool: object = None
        """The first argument of each hook."""

    def call(self, hook: str, *args: object) -> None:
        """Call one hook of each instrument that has it."""
        for instrument in tuple(self.active):
            method = getattr(instrument, hook, None)
            if method is not None:
                self._call_one(instrument, method, args)

    def _call_one(self, instrument: Any, method: Any, args: tuple[object, ...]) -> None:
        try:
            method(self.pool, *args)
        except BaseException:  # callers of the pool must not notice it; Ctrl-C is held back here
            _LOGGER.exception("instrument %r raised and is dropped", instrument)
            if instrument in self.active:
                self.active.remove(instrument)
