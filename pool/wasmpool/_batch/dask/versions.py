"""The versions on both sides, compared: chunks and their results pass as Python objects."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["PACKAGES", "differences", "report_differences", "versions_here"]

PACKAGES: Final = ("wasmpool", "wasmtime", "distributed")
"""What is compared besides Python. Trio and attrs are not: nothing of theirs is sent."""

_PYTHON: Final = "Python"
_MOST: Final = 5
"""Differences in a message; a cluster of a hundred workers has them a hundred times."""


def versions_here() -> dict[str, str]:
    """Return the versions on this side, by name. What is not installed is left out."""
    found = {_PYTHON: _series(platform.python_version())}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that is not installed
            continue
    return found


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> Iterator[str]:
    """Return what differs, each as ``has <there> and not <here>``, by this side's names."""
    for name, own in here.items():
        other = there.get(name)
        if other is None:
            yield f"has no {name}, and this side has {own}"
        elif other != own:
            yield f"has {name} {other}, and this side has {own}"


def report_differences(here: Mapping[str, str], report: Mapping[str, Any]) -> str | None:
    """Compare this side with all others, and return a message, or None if they are equal.

    Args:
        here: as `versions_here` returns it.
        report: as Dask's ``Client.get_versions`` returns it.
    """
    found: list[str] = []
    found += (f"the scheduler {each}" for each in _compared(here, report["scheduler"]))
    for address, worker in report["workers"].items():
        found += (f"the worker {address} {each}" for each in _compared(here, worker))
    if not found:
        return None
    more = f"; and {len(found) - _MOST:,} more" if len(found) > _MOST else ""
    return "; ".join(found[:_MOST]) + more


def _compared(here: Mapping[str, str], report: Mapping[str, Any]) -> Iterator[str]:
    packages: Mapping[str, str | None] = report["packages"]
    there = {name: found for name, found in packages.items() if found is not None}
    there[_PYTHON] = _series(there.pop("python", ""))
    return differences(here, there)


def _series(python: str) -> str:
    """Return the first two numbers: what is pickled by 3.12.1 can be read by 3.12.9."""
    return ".".join(python.split(".")[:2])
