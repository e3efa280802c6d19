"""The errors of pools and plugins; each message names the pool or plugin and the values."""

from __future__ import annotations

from wasmpool_host import WasmpoolError

__all__ = [
    "LeaseDeadlock",
    "LeaseExpired",
    "LeaseRevoked",
    "PluginError",
    "PoolClosed",
    "PoolError",
    "PoolSaturated",
    "PoolTimeout",
    "PoolUnavailable",
    "ReloadFailed",
    "as_one_line",
]


def as_one_line(error: BaseException) -> str:
    """Return an error's class and the first line of its message, to be part of another message."""
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class PoolError(WasmpoolError):
    """The pool did not grant an instance, revoked it, or could not be reloaded."""


class PluginError(WasmpoolError):
    """The plugin is closed, refused its credentials, or could not be reloaded."""


class PoolClosed(PoolError):
    """A lease was asked for, or waited for, or a reload was under way, when the pool closed."""


class PoolSaturated(PoolError):
    """``max_waiting`` tasks wait already; the message names the task with the oldest lease."""


class PoolTimeout(PoolError):
    """No instance became free within ``max_wait``; the message names the oldest lease's task."""


class PoolUnavailable(PoolError):
    """Instances cannot be started, and there is none to wait for; ``__cause__`` says why."""


class LeaseExpired(PoolError):
    """A lease was used after its block, or its block ended while a call on it was under way."""


class LeaseRevoked(PoolError):
    """The grace of a close or of a reload ended while the lease was held."""


class LeaseDeadlock(PoolError):
    """Waiting would never end: each instance is leased by a task that waits in the queue itself."""


class ReloadFailed(PoolError, PluginError):
    """The new module could not be started, set up or checked; the old one goes on serving."""
