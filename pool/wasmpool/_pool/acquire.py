"""How a task gets an instance: for a lease, or for a single call that has to wait.

A caller is checked first, without changing anything: its process, its trio run, and the room on its
Python stack. Then it takes an idle instance, or joins the queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import checkpoint, current_task

from wasmpool._errors import LeaseRevoked
from wasmpool_host.lowlevel import PENDING, check_headroom, check_process, check_trio

from .observed import observed

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .call_site import CallSite
    from .core import Core
    from .slot import Slot
    from .waiter import StartCall, Waiter

__all__ = ["acquire", "acquire_nowait", "call_with_lease", "check_run"]


def check_run(core: Core) -> None:
    """Raise RuntimeError unless this is the process and the trio run of the pool."""
    check_process()
    try:
        run = trio.lowlevel.current_trio_token()
    except RuntimeError:
        check_trio(f"pool {core.name!r}")
        raise
    if run is not core.run:
        raise RuntimeError(f"pool {core.name!r} belongs to another trio run: open one in each run")


async def acquire(core: Core, call_site: CallSite | None) -> Slot:
    """Lease an instance to the current task. It is a checkpoint."""
    check_run(core)
    check_headroom()
    await checkpoint()
    task = current_task()
    slot = core.take(task, call_site)
    if slot is None:
        slot = await _wait(core.join(task, call_site))
        assert slot is not None  # there is no call that could be over
    return slot


def acquire_nowait(core: Core, call_site: CallSite | None) -> Slot:
    """Lease an instance to the current task if one is idle."""
    check_run(core)
    check_headroom()
    slot = core.take(current_task(), call_site)
    if slot is None:
        raise core.refusal()
    return slot


def call_with_lease(
    core: Core,
    call_site: CallSite | None,
    export: str,
    start_call: StartCall,
    tool: str | None = None,
) -> Coroutine[Any, Any, Any]:
    """Make a single call that must wait, or that instruments must see as a lease.

    Args:
        core: the pool's.
        call_site: where the call was made.
        export: what is called.
        start_call: runs the call's first slice.
        tool: the tool of a plugin that is run by it.
    """
    return observed(core, export, tool, _call_with_lease(core, call_site, start_call, tool))


async def _call_with_lease(
    core: Core, call_site: CallSite | None, start_call: StartCall, tool: str | None
) -> Any:
    check_run(core)
    check_headroom()  # also for the task that may run the first slice for this one
    task = current_task()
    # 1. Get an instance. If this task has to wait, its first slice has run once it wakes up.
    slot = core.take(task, call_site)
    waiter = None
    if slot is None:
        waiter = core.join(task, call_site, start_call)
        slot = await _wait(waiter)
        if slot is None:  # the call is over
            return waiter.outcome
    # 2. Run the call, or what is left of it.
    core.note_tool(slot, tool)
    try:
        is_begun = waiter is not None and waiter.outcome is PENDING
        outcome = PENDING if is_begun else start_call(slot.instance)
        return await slot.instance.finish() if outcome is PENDING else outcome
    finally:
        core.give_back(slot)


async def _wait(waiter: Waiter) -> Slot | None:
    """Wait in the queue. Return the leased instance, or None if the waiter's call is over.

    Raises:
        LeaseRevoked: the lease was granted, and revoked before its task could run.
        Exception: as `Waiter.wait`.
    """
    slot = await waiter.wait()
    if slot is not None and slot.revoked is not None:
        raise LeaseRevoked(slot.revoked)
    return slot
