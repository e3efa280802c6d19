"""What a viewer of the page is sent, as values for JSON.

Names and texts come from plugins. They are cut here to a length that suits a page, and the page
shows them as text, never as markup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wasmpool import LeaseInfo, Plugin

    from .history import History, Point

__all__ = ["about", "failed", "now"]

_MOST_TOOLS: Final = 500  # of one plugin: as many as the contract allows
_MOST_LEASES: Final = 32  # of one plugin: those held longest
_MOST_FAILURES: Final = 100
_LONGEST: Final = 300  # characters of one text


def about(name: str, plugin: Plugin, history: History) -> dict[str, Any]:
    """Return what is sent of a plugin once, and again with each new generation."""
    metadata = plugin.metadata
    return {
        "name": name,
        "generation": plugin.pool.generation,
        "version": _cut(metadata.version) if metadata else "",
        "description": _cut(metadata.description) if metadata else "",
        "tools": [
            {"name": tool.name, "description": _cut(tool.description)}
            for tool in plugin.tools[:_MOST_TOOLS]
        ],
        "points": [_rounded(point) for point in history.points],
    }


def now(name: str, history: History, time: float) -> dict[str, Any]:
    """Return what is sent of a plugin each second, as last measured; its leases as they are now."""
    statistics = history.statistics
    leases = sorted(history.plugin.pool.leases(), key=lambda lease: lease.since)
    return {
        "name": name,
        "state": statistics.state.value,
        "generation": statistics.generation,
        "size": statistics.size,
        "idle": statistics.idle,
        "leased": statistics.leased,
        "starting": statistics.starting,
        "retiring": statistics.retiring,
        "waiting": statistics.waiting,
        "calls": statistics.lease_seconds.count,
        "reloads": statistics.reloads,
        "retired": {reason: count for reason, count in statistics.retired.items() if count},
        "leases": [_lease(lease, time) for lease in leases[:_MOST_LEASES]],
        "more_leases": max(0, len(leases) - _MOST_LEASES),
        "point": _rounded(history.points[-1]) if history.points else None,
    }


def failed(failures: Mapping[str, BaseException]) -> list[dict[str, str]]:
    """Return the plugins that could not be loaded or reloaded, each with its reason."""
    return [
        {"name": _cut(name), "error": _reason(error)}
        for name, error in _first(failures.items(), _MOST_FAILURES)
    ]


def _reason(error: BaseException) -> str:
    """The error, and what caused it if the error does not say so."""
    cause = error.__cause__
    text = f"{type(error).__name__}: {error}"
    if cause is not None and str(cause) not in text:
        text = f"{text} ({type(cause).__name__}: {cause})"
    return _cut(text, 4 * _LONGEST)


def _lease(lease: LeaseInfo, time: float) -> dict[str, Any]:
    return {
        "holder": _cut(lease.holder),
        "tool": None if lease.tool is None else _cut(lease.tool),
        "instance": lease.instance,
        "generation": lease.generation,
        "uses": lease.uses,
        "seconds": round(time - lease.since, 3),
    }


def _rounded(point: Point) -> list[float]:
    """Three digits or so: enough for a plot, at a third of the size."""
    return [round(point.time, 1), round(point.rate, 1), _digits(point.p50), _digits(point.p99)]


def _digits(seconds: float) -> float:
    return float(f"{seconds:.3g}")


def _cut(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else f"{text[:longest]}..."


def _first(
    items: Iterable[tuple[str, BaseException]], most: int
) -> list[tuple[str, BaseException]]:
    return [item for _, item in zip(range(most), items, strict=False)]
