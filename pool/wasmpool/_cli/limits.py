"""The limits that options set."""

from __future__ import annotations

from typing import Any

import attrs

from wasmpool import Limits

from .wrong_use import WrongUse

__all__ = ["limits_of"]


def limits_of(*, timeout: float | None, memory: int | None) -> Limits:
    """Return the limits for these options; None stands for the default.

    Raises:
        WrongUse: a limit is out of its range.
    """
    limits = _set("--timeout", Limits(), call_seconds=timeout)
    return limits if memory is None else _set("--memory", limits, memory=memory)


def _set(option: str, limits: Limits, **change: Any) -> Limits:
    try:
        return attrs.evolve(limits, **change)
    except ValueError as error:
        raise WrongUse(f"{option}: {error}") from error
