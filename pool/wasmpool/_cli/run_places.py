"""Where the lines of a run are answered: in this trio run, in other threads, or in processes."""

from __future__ import annotations

from contextlib import AsyncExitStack, nullcontext
from typing import TYPE_CHECKING, final

import attrs

from wasmpool._batch.dask.extra import check_installed
from wasmpool._batch.here import Here
from wasmpool._batch.places import PlacesFailed
from wasmpool._batch.processes import open_processes
from wasmpool._batch.shared_cache import with_cache
from wasmpool._batch.threads import open_threads
from wasmpool._batch.work import Work
from wasmpool._free_threading import has_gil, why_one_thread

from .run_guest import job_of, open_run_guest, read_guest
from .standard_streams import write_error
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from wasmpool import Pool
    from wasmpool._batch.job import Job
    from wasmpool._batch.places import Places
    from wasmpool_host.lowlevel import Source

    from .run_options import RunOptions

__all__ = ["RunPlaces", "prepare_places"]


@final
@attrs.frozen(kw_only=True)
class RunPlaces:
    """A guest that can be used, and the places that will use it."""

    title: str
    """What is called."""
    job: Job
    module: Source
    opening: AbstractAsyncContextManager[Places]
    pool: Pool | None
    """The guest's, if it is in this trio run."""


async def prepare_places(stack: AsyncExitStack, options: RunOptions) -> RunPlaces:
    """Read the guest, and see that it can be used, before the output is touched.

    What is opened here is closed with the stack.

    Raises:
        WrongUse: it cannot be used, or an option does not fit it.
    """
    if options.threads is not None and has_gil():
        count = options.threads
        raise WrongUse(why_one_thread(f"--threads {count}", f"--processes {count}"))
    module = await read_guest(options)
    job = job_of(options, module)
    if options.processes is None and options.threads is None and options.dask is None:
        guest = await open_run_guest(stack, options, job, module)
        here = Here(Work(guest, job), job.tasks)
        job = attrs.evolve(job, tool=guest.tool)
        return RunPlaces(
            title=guest.title, job=job, module=module, opening=nullcontext(here), pool=guest.pool
        )
    if options.dask is not None:
        return await _prepare_dask(stack, options, options.dask, job, module)
    job = await stack.enter_async_context(with_cache(job))
    title, job = await _try_out(options, job, module)
    opening: AbstractAsyncContextManager[Places]
    if options.processes is not None:
        opening = open_processes(job, module, options.processes)
    else:
        opening = open_threads(job, module, options.threads or 1)
    return RunPlaces(title=title, job=job, module=module, opening=opening, pool=None)


async def _prepare_dask(
    stack: AsyncExitStack, options: RunOptions, address: str, job: Job, module: Source
) -> RunPlaces:
    """Connect to a cluster, or start one: a mistake in its address leaves the output as it is."""
    try:
        check_installed("--dask")
    except ImportError as error:
        raise WrongUse(str(error)) from error
    from wasmpool._batch.dask.places import open_dask

    title, job = await _try_out(options, job, module)
    try:
        places = await stack.enter_async_context(open_dask(address, job, module))
    except PlacesFailed as error:
        raise WrongUse(f"--dask: {error}") from error
    if places.page is not None:
        write_error(f"Dask shows what its workers do at {places.page}\n")
    return RunPlaces(title=title, job=job, module=module, opening=nullcontext(places), pool=None)


async def _try_out(options: RunOptions, job: Job, module: Source) -> tuple[str, Job]:
    """Open the guest once, which compiles it for all places; return what is called, and the job."""
    one = attrs.evolve(job, size=1)
    async with AsyncExitStack() as stack:
        guest = await open_run_guest(stack, options, one, module)
        return guest.title, attrs.evolve(job, tool=guest.tool)
