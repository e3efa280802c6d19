"""A program: a cluster of Dask on this machine, until its standard input ends.

It is a process of its own, and so are its workers. So the batch has no threads and sockets of a
scheduler, and its end is theirs: they are one process group.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import dask.config
from distributed import LocalCluster
from distributed.security import Security

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

_CLOSE_SECONDS: Final = 5.0
"""That the workers have to end; then they are killed."""
_ALLOWED_FAILURES: Final = 0
"""A chunk whose worker has ended is lost. The batch tries it once more, apart from other such."""


def main() -> None:
    """Serve. The first line of standard input says what, and a line of output where."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the batch's
    options: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    dask.config.set({"distributed.scheduler.allowed-failures": _ALLOWED_FAILURES})
    try:
        asyncio.run(_serve(options))
    finally:
        shutil.rmtree(options["directory"], ignore_errors=True)
        os.killpg(0, signal.SIGKILL)  # what is left, and this process


async def _serve(options: dict[str, Any]) -> None:
    new: Callable[..., Any] = LocalCluster  # neither has types
    security: Callable[..., Any] = Security
    cluster: Any = new(
        n_workers=options["workers"],
        threads_per_worker=1,
        security=security(require_encryption=True, **options["security"]),
        protocol="tls://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        local_directory=options["directory"],
        asynchronous=True,
    )
    async with cluster:
        place = {"address": cluster.scheduler_address, "page": _page(cluster.dashboard_link)}
        print(json.dumps(place), flush=True)  # noqa: T201 - its answer
        await asyncio.to_thread(sys.stdin.buffer.read)
        async with asyncio.timeout(_CLOSE_SECONDS):
            await cluster.close()


def _page(link: str) -> str:
    """Return the address of the page that there is: the one with plots needs Bokeh."""
    return link if find_spec("bokeh") else f"{link.removesuffix('/status')}/info/main/workers.html"
