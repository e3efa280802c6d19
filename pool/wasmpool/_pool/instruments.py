"""The hooks by which an application observes its pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .pool import Pool
    from .statistics import LeaseInfo

__all__ = ["Instrument"]


class Instrument:
    """A base class for ``open_pool(instruments=...)``: override the hooks that you need.

    The methods are called on the loop, in the middle of a change of the pool: they should note
    the fact and return. Their first argument is the pool; they may read its `Pool.statistics`. An
    instrument that raises is logged and not called again; callers of the pool do not notice it. It
    need not derive from this class, and need not have all of the methods.
    """

    def instance_started(self, pool: Pool, instance: int, generation: int, seconds: float) -> None:
        """Instance number ``instance`` is ready to serve; its start took ``seconds``."""

    def instance_retired(self, pool: Pool, instance: int, generation: int, reason: str) -> None:
        """An instance will not serve again; ``reason`` is a `RetireReason`."""

    def call_started(self, pool: Pool, export: str, tool: str | None) -> None:
        """A call begins to ask for an instance, or begins on a lease that is held.

        It runs in the task of the call, and what it sets in context variables is seen by the host
        functions of the call. ``tool`` is the tool of a plugin, None for other calls. One
        `call_ended` follows, in the same task.
        """

    def call_ended(
        self, pool: Pool, export: str, seconds: float, error: BaseException | None
    ) -> None:
        """A call ended, ``seconds`` after its beginning: a wait for an instance is included.

        ``error`` is what it raised, None if it returned. That an instance was refused is the end of
        a call, too, and a cancel is one with `trio.Cancelled`.
        """

    def lease_granted(self, pool: Pool, lease: LeaseInfo, waited: float) -> None:
        """A lease was granted, after ``waited`` seconds.

        It runs in the context of the lease's task, though it may be another task that gives the
        instance back.
        """

    def lease_ended(self, pool: Pool, lease: LeaseInfo, held: float) -> None:
        """A lease ended or was revoked, after ``held`` seconds."""

    def waiting(self, pool: Pool, waiting: int) -> None:
        """A task began to wait; ``waiting`` tasks are in the queue now."""

    def reloaded(self, pool: Pool, generation: int) -> None:
        """Generation number ``generation`` is in service."""

    def closing(self, pool: Pool) -> None:
        """The pool began to close."""
