"""The directory by which compiled code comes to other processes of this user."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .job import Job

__all__ = ["with_cache"]


@asynccontextmanager
async def with_cache(job: Job) -> AsyncGenerator[Job]:
    """Give a job a cache, if it has none: a new directory, which the end of the block removes.

    Only this user can write to it, as `Module.compile` asks for.
    """
    if job.cache is not None:
        yield job
        return
    directory = await trio.to_thread.run_sync(partial(tempfile.mkdtemp, prefix="wasmpool-"))
    try:
        yield attrs.evolve(job, cache=directory)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(partial(shutil.rmtree, directory, ignore_errors=True))
