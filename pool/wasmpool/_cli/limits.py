"""The limits that options set."""

from __future__ import annotations

from typing import Any

import attrs

from wasmpool import Limits

from .wrong_use import WrongUse

__all__ = ["limits_of"]


def limits_of(
    *, timeout: float | None, memory: int | None = None, stack: int | None = None
) -> Limits:
    """Return the limits for these options; None stands for the default.

    Raises:
        WrongUse: a limit is out of its range.
    """
    limits = _set("--timeout", Limits(), call_seconds=timeout)
    if memory is not None:
        limits = _set("--memory", limits, memory=memory)
    return limits if stack is None else _set("--stack", limits, stack=stack)


def _set(option: str, limits: Limits, **change: Any) -> Limits:
    try:
        return attrs.evolve(limits, **change)
    except ValueError as error:
        raise WrongUse(f"{option}: {error}") from error
