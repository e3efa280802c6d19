"""Scripts: Python that calls tools, run in a CPython that is itself a guest on a pool."""

from __future__ import annotations

from .limits import ScriptLimits
from .scripts import Scripts, open_scripts

__all__ = ["ScriptLimits", "Scripts", "open_scripts"]
