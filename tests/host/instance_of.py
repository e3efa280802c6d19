"""The types of the fixtures that make instances."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from wasmpool_host import Instance
from wasmpool_host.lowlevel import DrivenInstance

__all__ = ["DrivenInstanceOf", "InstanceOf"]

InstanceOf: TypeAlias = Callable[..., Awaitable[Instance]]
"""Its arguments are those of `Module.compile`, or a module."""

DrivenInstanceOf: TypeAlias = Callable[..., Awaitable[DrivenInstance]]
