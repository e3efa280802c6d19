"""How a script ends that takes more than it may."""

from __future__ import annotations

__all__ = ["ScriptEnded"]


class ScriptEnded(Exception):
    """Ends a script from the host's side, where it cannot be caught; the message says why."""
