"""A call that the pool's instruments hear of, in the task and in the context of its caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .core_state import CoreState

__all__ = ["observed"]

Result = TypeVar("Result")


def observed(
    core: CoreState, export: str, tool: str | None, call: Coroutine[Any, Any, Result]
) -> Coroutine[Any, Any, Result]:
    """Return a coroutine that makes a call; the call itself where nothing observes it.

    Args:
        core: the pool's.
        export: what is called.
        tool: the tool of a plugin that is run by it.
        call: the call, its wait for an instance included.
    """
    return _tell(core, export, tool, call) if core.hooks.active else call


@trio.lowlevel.enable_ki_protection
async def _tell(
    core: CoreState, export: str, tool: str | None, call: Coroutine[Any, Any, Result]
) -> Result:
    hooks = core.hooks
    began = core.now()
    hooks.call("call_started", export, tool)
    try:
        result = await call
    except BaseException as error:
        hooks.call("call_ended", export, core.now() - began, error)
        raise
    hooks.call("call_ended", export, core.now() - began, None)
    return result
