"""wasmpool runs on trio, and says so when it is used outside of trio."""

from __future__ import annotations

import sys

from trio.lowlevel import in_trio_task

__all__ = ["check_trio"]


def check_trio(what: str) -> None:
    """Raise RuntimeError outside of a trio task; ``what`` names the function that needs one.

    Without this check trio, asyncio or Python would raise an error that does not say what to do.
    """
    if not in_trio_task():
        where = "under asyncio" if _asyncio_runs() else "outside of a trio run"
        message = (
            f"{what} was used {where}, and wasmpool runs on trio: start the program with"
            " trio.run(main), or give wasmpool a thread that calls trio.run"
        )
        raise RuntimeError(message)


def _asyncio_runs() -> bool:
    """Return True if an asyncio loop runs in this thread. This does not import asyncio."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001 - the public function raises
