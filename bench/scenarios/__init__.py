"""The scenarios, one per file. Each says what it measures, and names a fair objection."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bench._scenario import Scenario

__all__ = ["ALL", "load"]

ALL: Final = (
    "short", "execute", "wait", "compute", "mixed", "lag", "fresh", "pristine", "program", "cancel",
    "reload", "scale", "start", "telemetry", "extism", "component", "http", "lines",
)  # fmt: skip
"""In the order in which they run."""


def load(name: str) -> Scenario:
    """Import a scenario without the others."""
    found: Scenario = importlib.import_module(f"bench.scenarios.{name}").SCENARIO
    return found
