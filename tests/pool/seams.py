"""The ways from a test into a pool: what no public name shows. Names inside change here only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio.testing import wait_all_tasks_blocked

from wasmpool._pool import invariants

if TYPE_CHECKING:
    from wasmpool import Pool

__all__ = ["check_invariants", "retired", "settle"]


def check_invariants(pool: Pool) -> None:
    """Assert what holds of a pool between any two steps."""
    invariants.check(pool._core)


async def settle(pool: Pool) -> None:
    """Let all tasks run until they are blocked; then the invariants hold."""
    await wait_all_tasks_blocked()
    check_invariants(pool)


def retired(pool: Pool) -> dict[str, int]:
    """The reasons for which instances were retired so far, with their numbers."""
    return {reason: count for reason, count in pool.statistics().retired.items() if count}
