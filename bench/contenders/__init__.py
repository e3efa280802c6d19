"""The contenders, and their interface.

A contender is a module with the two functions of `Contender`. Each runs in a process of its own,
and imports only what it needs.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

__all__ = ["ALL", "Bytes", "Call", "Contender", "Execute", "is_installed", "load"]

ALL: Final = {
    "lock": "one instance, a trio.Lock, a worker thread for each call: what hosts do today",
    "threads": "N instances, a CapacityLimiter, a worker thread for each call: the obvious pool",
    "direct": "wasmtime-py's own synchronous call, in a loop: no async, no pool",
    "extism": "Extism's Python SDK, one plugin for each worker thread",
    "floor": "a checkpoint and a bare fiber call through the C API, nothing around it",
    "wasmpool": "this project",
}
"""The contenders by name, with a description."""

Call: TypeAlias = "Callable[..., Awaitable[Any]]"
"""``await call("add", 1, 2)``."""
Bytes: TypeAlias = "Callable[[str, bytes], Awaitable[Any]]"
"""``await call("echo", b"text")``, of a plugin of Extism's kind."""
Execute: TypeAlias = "Callable[[str, dict[str, Any]], Awaitable[Any]]"
"""``await execute("echo", {"message": 1})``."""


class Contender(Protocol):
    """The functions of a contender."""

    def open_calls(self, size: int) -> AbstractAsyncContextManager[Call]:
        """Prepare to call the guest `bench._guests.CALLS` on up to ``size`` instances."""
        ...

    def open_executes(self, size: int) -> AbstractAsyncContextManager[Execute]:
        """The same for the tools of the example plugin."""
        ...


def load(name: str) -> Contender:
    """Import a contender."""
    return cast("Contender", importlib.import_module(f"bench.contenders.{name}"))


def is_installed(name: str) -> bool:
    """Return True if the contender can run here; only Extism may be missing."""
    return name != "extism" or importlib.util.find_spec("extism") is not None
