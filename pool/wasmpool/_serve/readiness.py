"""Whether all plugins serve, and what is wrong with those that do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from wasmpool._errors import as_one_line
from wasmpool_host.lowlevel import escaped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmpool import Loader

    from .plugins import Plugins

__all__ = ["merged_readiness", "readiness"]

_MOST: Final = 1_000
"""Plugins with something wrong that are named."""
_LONGEST: Final = 500
"""Characters of an error."""


def readiness(loader: Loader, plugins: Plugins, *, draining: bool) -> dict[str, Any]:
    """Return a JSON object of what is wrong; ``ready`` is true if all plugins serve.

    A plugin whose reload has failed goes on serving, so it is listed, but nothing waits for it.
    """
    wrong: dict[str, Any] = {
        name: {"serves": name in loader.plugins, "error": "it is not loaded yet"}
        for name in plugins.config.plugins
        if name not in loader.plugins
    }
    wrong |= {
        name: {"serves": name in loader.plugins, "error": _in_words(error)}
        for name, error in loader.failures.items()
    }
    wrong |= {path: {"serves": False, "error": why} for path, why in plugins.problems.items()}
    answer: dict[str, Any] = {
        "ready": not draining and all(each["serves"] for each in wrong.values()),
        "plugins": len(loader.plugins),
        "wrong": {escaped(name): wrong[name] for name in list(wrong)[:_MOST]},
    }
    if draining:
        answer["draining"] = True
    return answer


def merged_readiness(workers: Mapping[str, dict[str, Any] | None]) -> dict[str, Any]:
    """Return what the workers say of themselves as one; None is one that says nothing."""
    if set(workers) == {""} and (only := workers[""]) is not None:
        return only
    ready = all(each is not None and each["ready"] for each in workers.values())
    silent = {"ready": False, "error": "it does not answer: it starts, or is busy"}
    return {"ready": ready, "workers": {name: each or silent for name, each in workers.items()}}


def _in_words(error: Exception) -> str:
    """The error, and what caused it if the error does not say so."""
    text, cause = as_one_line(error), error.__cause__
    if isinstance(cause, Exception) and str(cause).partition("\n")[0] not in text:
        text = f"{text} ({as_one_line(cause)})"
    return escaped(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
