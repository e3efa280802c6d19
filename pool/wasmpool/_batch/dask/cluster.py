"""A cluster on this machine: started, and ended with the block."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

import attrs
import trio
from distributed.security import Security

from wasmpool._batch.places import PlacesFailed
from wasmpool._child_process import python_command
from wasmpool._lines import LineSplitter
from wasmpool._plain_nursery import open_plain_nursery
from wasmpool_host.lowlevel import escaped

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["Cluster", "open_cluster"]

_log = logging.getLogger("wasmpool.dask")

_START_SECONDS: Final = 120.0
"""That the scheduler and the workers have: each imports Dask, on a busy machine perhaps."""
_END_SECONDS: Final = 8.0
"""That they have to end when they are told to; then they are killed."""
_LOG_FORMAT: Final = {"DASK_DISTRIBUTED__ADMIN__LOG_FORMAT": "%(name)s: %(message)s"}
"""Their lines are part of the records of this process, which have a time and a level."""
_LONGEST_LINE: Final = 4096
"""Bytes of a line of their log."""
_BLOCK: Final = 64 << 10


@final
@attrs.frozen
class Cluster:
    """A cluster that runs."""

    address: str
    """Of its scheduler."""
    page: str
    """The address of Dask's page about it."""
    security: Security = attrs.field(repr=False)
    """Certificates of its own: other users of this machine cannot use the cluster."""


@asynccontextmanager
async def open_cluster(workers: int) -> AsyncGenerator[Cluster]:
    """Start a cluster of so many workers, and end it with the block; at once if that raises.

    Each worker is a process with one thread. None is left when the block has ended.

    Raises:
        PlacesFailed: it could not be started.
    """
    directory = await trio.to_thread.run_sync(partial(tempfile.mkdtemp, prefix="wasmpool-"))
    try:
        security = await trio.to_thread.run_sync(Security.temporary)
        async with _process(directory) as process:
            place = await _started(process, workers, directory, security)
            yield Cluster(place["address"], place["page"], security)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(partial(shutil.rmtree, directory, ignore_errors=True))


@asynccontextmanager
async def _process(directory: str) -> AsyncGenerator[trio.Process]:
    """Run the process of a cluster; its log is this one's."""
    process = await trio.lowlevel.open_process(
        python_command("wasmpool._batch.dask.cluster_process", []),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=directory,
        env={**os.environ, **_LOG_FORMAT, "TMPDIR": directory},  # Dask keeps a folder there
        process_group=0,  # Ctrl-C goes to the batch alone, and all can be killed at once
    )
    try:
        async with open_plain_nursery() as nursery:
            nursery.start_soon(_log_lines, process)
            yield process
            assert process.stdin is not None
            await process.stdin.aclose()
            with trio.move_on_after(_END_SECONDS):
                await process.wait()
            nursery.cancel_scope.cancel()
    finally:
        with suppress(ProcessLookupError):  # it has killed what was left, and itself
            os.killpg(process.pid, signal.SIGKILL)
        with trio.CancelScope(shield=True):  # it is dead
            await process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                await trio.aclose_forcefully(pipe)


async def _started(
    process: trio.Process, workers: int, directory: str, security: Security
) -> dict[str, Any]:
    """Tell the process what to start, and return where it is when it has started."""
    options = {"workers": workers, "directory": directory, "security": _as_json(security)}
    assert process.stdin is not None
    assert process.stdout is not None
    answer = b""
    with trio.move_on_after(_START_SECONDS), suppress(trio.BrokenResourceError):
        await process.stdin.send_all(json.dumps(options).encode() + b"\n")
        while not answer.endswith(b"\n") and (block := await process.stdout.receive_some()):
            answer += block
    if not answer.endswith(b"\n"):
        raise PlacesFailed("the local cluster of Dask could not be started; its log says why")
    place: dict[str, Any] = json.loads(answer)
    return place


def _as_json(security: Security) -> dict[str, str]:
    """Return the certificates and keys, which are text. The rest is as by default."""
    names = ("ca_file", "client_cert", "client_key", "scheduler_cert", "scheduler_key",
             "worker_cert", "worker_key")  # fmt: skip
    return {f"tls_{name}": getattr(security, f"tls_{name}") for name in names}


async def _log_lines(process: trio.Process) -> None:
    """Log what the processes of the cluster write to standard error."""
    assert process.stderr is not None
    lines = LineSplitter(_LONGEST_LINE)
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while block := await process.stderr.receive_some(_BLOCK):
            for line in lines.feed(bytes(block)):
                text = line.content.decode(errors="backslashreplace")
                _log.warning("%s", escaped(text, tabs=True))
