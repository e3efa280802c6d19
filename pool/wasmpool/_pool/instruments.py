"""Hooks: an application's own view of what its pool does."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .pool import Pool
    from .statistics import LeaseInfo

__all__ = ["Instrument", "Instruments"]

_LOGGER: Final = logging.getLogger("wasmpool")


class Instrument:
    """A base for what is given to ``open_pool(instruments=...)``: override what you want to see.

    The methods are called on the loop, in the middle of the pool's work: they should note the
    fact and return. Their first argument is the pool; they may read its `Pool.statistics`. One
    that raises is logged and not called again; callers of the pool never feel it.
    """

    def instance_started(self, pool: Pool, instance: int, generation: int, seconds: float) -> None:
        """Instance number ``instance`` is ready to serve; its start took ``seconds``."""

    def instance_retired(self, pool: Pool, instance: int, generation: int, reason: str) -> None:
        """An instance does not serve again; ``reason`` is a `RetireReason`."""

    def lease_granted(self, pool: Pool, lease: LeaseInfo, waited: float) -> None:
        """A lease was granted, after ``waited`` seconds."""

    def lease_ended(self, pool: Pool, lease: LeaseInfo, held: float) -> None:
        """A lease ended or was revoked, after ``held`` seconds."""

    def waiting(self, pool: Pool, waiting: int) -> None:
        """A task joined the line, which is now ``waiting`` long."""

    def reloaded(self, pool: Pool, generation: int) -> None:
        """Generation number ``generation`` is in service."""

    def closing(self, pool: Pool) -> None:
        """The pool began to close."""


@final
class Instruments:
    """A pool's instruments."""

    __slots__ = ("active", "pool")

    def __init__(self, instruments: Sequence[Any]) -> None:
        self.active: list[Any] = list(instruments)
        """Empty for most pools, so that the hot path pays one look."""
        if self.active:
            from . import statistics  # noqa: F401, PLC0415 - not in the midst of a lease
        self.pool: Pool | None = None

    def tell(self, hook: str, *args: object) -> None:
        """Call one hook of each that has it."""
        for instrument in tuple(self.active):
            method = getattr(instrument, hook, None)
            if method is not None:
                self._call(instrument, method, args)

    def _call(self, instrument: Any, method: Any, args: tuple[object, ...]) -> None:
        try:
            method(self.pool, *args)
        except BaseException:  # protected from Ctrl-C; whatever else it is, it must not be felt
            _LOGGER.exception("instrument %r raised and is dropped", instrument)
            if instrument in self.active:
                self.active.remove(instrument)
