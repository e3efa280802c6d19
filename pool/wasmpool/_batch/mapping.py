"""`map_lines`: the lines of an input, one call each, from a program."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from io import BytesIO
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, final

import attrs
import trio

from wasmpool import HttpPolicy, Limits, Module
from wasmpool._block import Block
from wasmpool._free_threading import has_gil, why_one_thread
from wasmpool._plain_nursery import open_plain_nursery
from wasmpool._plugin.options import copy_credentials
from wasmpool._plugin.source import as_module_source
from wasmpool_host.lowlevel import Source, check_trio

from .dask.address import read_address
from .dask.extra import check_installed
from .guest import is_program_source, open_guest
from .here import Here
from .input import check_lines, open_blocks
from .job import Job
from .ordered import OrderedRows
from .processes import open_processes
from .shared_cache import with_cache
from .threads import open_threads
from .work import Work

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from .input import Lines
    from .ordered import Done
    from .places import Places

__all__ = ["Row", "Rows", "map_lines"]

_TASKS_PER_INSTANCE: Final = 4
"""Enough to keep each instance busy while lines are read."""
_MOST_PLACES: Final = 256


@final
@attrs.frozen
class Row:
    """The answer to one line."""

    number: int
    """The line's, from 1."""
    data: str
    """The text of the tool or the output of the program; where it is an error, what went wrong."""
    is_error: bool = False
    """True if the line failed: by the tool's own error, a trap, a limit, a line that is no call, or
    a process that was killed."""


@final
class Rows(AsyncIterator[Row]):
    """The answers to lines, in the order of the input: ``async for row in rows:``.

    The next one is waited for; a cancel is raised before it is taken. Several tasks may share the
    rows: each is given to one of them.
    """

    __slots__ = ("_ended", "_ordered", "_ready", "_taking")

    def __init__(self, ordered: OrderedRows) -> None:
        """`map_lines` makes it."""
        self._ordered = ordered
        self._ready: Iterator[Row] = iter(())
        self._taking = trio.Lock()
        self._ended = False

    async def __anext__(self) -> Row:
        """Wait for the next row."""
        if self._ended:
            raise RuntimeError("the block of map_lines has ended, and its rows with it")
        await trio.lowlevel.checkpoint_if_cancelled()
        row = next(self._ready, None)
        if row is None:
            async with self._taking:
                while (row := next(self._ready, None)) is None:
                    done = await self._ordered.take()
                    if not done:
                        raise StopAsyncIteration
                    self._ready = chain.from_iterable(map(_rows_of, done))
        return row


def _rows_of(done: Done) -> Iterator[Row]:
    """Read the rows of a chunk one by one: it may have hundreds of megabytes."""
    for number, row in enumerate(BytesIO(done.rows.content), done.chunk.first_line):
        ((key, text),) = json.loads(row).items()
        yield Row(number, text, key == "error")


def map_lines(  # noqa: PLR0913 - options, by name
    source: str | os.PathLike[str] | bytes,
    lines: Lines,
    *,
    tool: str | None = None,
    args: Iterable[str] = (),
    processes: int | None = None,
    threads: int | None = None,
    dask: str | None = None,
    size: int | None = None,
    tasks: int | None = None,
    limits: Limits | None = None,
    max_uses: int | None = None,
    pristine: bool = False,
    http: HttpPolicy | None = None,
    credentials: Mapping[str, str] | None = None,
    retries: int = 0,
    cache: str | os.PathLike[str] | None = None,
) -> AbstractAsyncContextManager[Rows]:
    """Call a plugin's tool, or run a program, once for each line of an input.

    ``async with map_lines("plugin.wasm", Path("lines.txt"), processes=0) as rows:`` and then
    ``async for row in rows:``.

    A line that starts with ``{`` is a JSON object of arguments for the tool; any other line is the
    argument ``text``. A program gets the line, with its ending, as standard input.

    Args:
        source: the plugin or the program: a path, the bytes of a file, or text in the text format,
            which contains ``(module``.
        lines: the path of a regular file, or an iterable or async iterable of lines, endless if you
            like: it is read as far as there is room. A line is str or bytes, and may end with a
            line ending. An async generator is closed with the block.
        tool: the plugin's tool; None is its only one.
        args: the arguments of a program, without its name.
        processes: in how many processes the calls are made; 0 is one per CPU. None is the present
            trio run.
        threads: the same with threads of this process, each with a trio run of its own. It needs a
            free-threaded Python.
        dask: the cluster of Dask whose workers make the calls: ``HOST:PORT`` of its scheduler, or
            ``local`` for a cluster on this machine that ends with the block, ``local:N`` with N
            workers. None is no cluster. It needs the extra ``dask``. Only one of ``processes``,
            ``threads`` and ``dask`` can be given.
        size: the most instances, in each process or thread, or for each thread of a worker; None is
            one per CPU, divided among all, and one for each thread of a worker.
        tasks: the most calls at the same time, in each process or thread, or for each thread of a
            worker; None is 4 per instance.
        limits: of each instance.
        max_uses: the calls after which an instance of a plugin is replaced; None is no limit.
        pristine: True gives each call of a plugin an instance that no other call has used; it costs
            less than ``max_uses=1``.
        http: the hosts that the plugin can reach; None is no host.
        credentials: the plugin's, strings by name.
        retries: how often a line is tried again that failed for a reason of the world:
            `CallTimeout`, `PoolUnavailable` and the like, MemoryError, or two processes that were
            killed while they did the line. Not what the guest decides: its errors, traps and exits.
        cache: a directory for compiled code. None is none; with processes or threads, a temporary
            one. Workers of Dask have their own.

    Returns:
        A block that yields the `Rows`: a `Row` for each line, in the order of the input. Memory
        stays bounded, however long the input is.

    Raises:
        ImportError: ``dask`` is given, and the extra is not installed.
        PlacesFailed: on entering: the scheduler does not answer, or its versions differ.
        TypeError, ValueError: an argument is of the wrong type, or out of its range; on entering: a
            tool, credentials or HTTP for a program, or arguments for a plugin.
        Exception: on entering: as `open_plugin`, or for a program as `Module.compile` and
            `open_pool`.
        OSError: on entering: a file cannot be read.
        RuntimeError: ``threads`` are given where Python has a GIL: they would take turns.
        RuntimeError: outside of trio, or in a forked child.

    What reading the input raises is raised by the rows, after those of the lines before. If no
    process can be started, or the scheduler is gone, they raise `PlacesFailed`. A process that is
    killed is replaced, and its lines are tried once more; then they are errors that say how it
    ended. The end of the block ends all calls and processes, however it ends, and so does a cancel.
    """
    check_lines(lines)
    if isinstance(source, Module):
        message = "map_lines takes the file of a module: a Module cannot go to another process"
        raise TypeError(message)
    processes, threads = _places("processes", processes), _places("threads", threads)
    _check_one_way(processes=processes, threads=threads, dask=dask)
    if threads is not None and has_gil():
        raise RuntimeError(why_one_thread(f"threads={threads}", f"processes={threads}"))
    if dask is not None:
        _check_cluster(dask)
    size = _count("size", size, 1) or (
        -(-_cpus() // (processes or threads or 1)) if dask is None else 1
    )
    job = Job(
        file="module.wasm",
        tool=tool,
        args=_texts(args),
        size=size,
        tasks=_count("tasks", tasks, 1) or _TASKS_PER_INSTANCE * size,
        limits=_of_type("limits", limits, Limits) or Limits(),
        max_uses=max_uses,
        pristine=pristine,
        http=_of_type("http", http, HttpPolicy),
        credentials=copy_credentials(credentials),
        retries=_count("retries", retries, 0) or 0,
        cache=None if cache is None else os.path.abspath(cache),  # noqa: PTH100 - no Path of it
    )
    opening = partial(_open_places, processes=processes, threads=threads, dask=dask)
    return Block("map_lines", "rows", _open(job, as_module_source(source), lines, opening))


@asynccontextmanager
async def _open(
    job: Job,
    given: os.PathLike[str] | bytes | str | Source,
    lines: Lines,
    open_places: Callable[[Job, Source], AbstractAsyncContextManager[Places]],
) -> AsyncGenerator[Rows]:
    check_trio("map_lines")
    source = await trio.to_thread.run_sync(Source.read, given, abandon_on_cancel=True)
    job = _for_source(job, source)
    async with AsyncExitStack() as stack:
        places = await stack.enter_async_context(open_places(job, source))
        blocks = await open_blocks(lines)
        ordered = OrderedRows(places, blocks, retries=job.retries, tasks=job.tasks)
        nursery = await stack.enter_async_context(open_plain_nursery())
        rows = Rows(ordered)
        nursery.start_soon(ordered.work)
        try:
            yield rows
        finally:
            rows._ended = True  # noqa: SLF001 - a class of this file
            nursery.cancel_scope.cancel()


def _for_source(job: Job, source: Source) -> Job:
    """Return the job with the name of its module.

    Raises:
        ValueError: it has options that mean nothing for the module.
    """
    file = source.path.name if source.path is not None else job.file
    if not is_program_source(source):
        if job.args:
            raise ValueError(f"args={job.args!r}: {file} is a plugin, which takes no arguments")
        return attrs.evolve(job, file=file)
    for option in ("tool", "max_uses", "pristine", "http", "credentials"):
        if getattr(job, option) not in (None, False):
            raise ValueError(f"{option}: {file} is a program, which has no use for it")
    return attrs.evolve(job, file=file, args=(file, *job.args))


@asynccontextmanager
async def _open_places(
    job: Job, source: Source, *, processes: int | None, threads: int | None, dask: str | None
) -> AsyncGenerator[Places]:
    if dask is not None:
        from .dask.places import open_dask  # noqa: PLC0415 - an extra

        async with open_guest(attrs.evolve(job, size=1), source) as guest:
            chosen = attrs.evolve(job, tool=guest.tool)
        async with open_dask(dask, chosen, source) as cluster:
            yield cluster
        return
    if processes is None and threads is None:
        async with open_guest(job, source) as guest:
            yield Here(Work(guest, job), job.tasks)
        return
    async with with_cache(job) as cached:
        async with open_guest(attrs.evolve(cached, size=1), source) as guest:
            chosen = attrs.evolve(cached, tool=guest.tool)
        opening: AbstractAsyncContextManager[Places]
        if processes is not None:
            opening = open_processes(chosen, source, processes)
        else:
            opening = open_threads(chosen, source, threads or 1)
        async with opening as places:
            yield places


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


def _places(name: str, value: Any) -> int | None:
    """Return how many processes or threads are meant."""
    count = _count(name, value, 0)
    return None if count is None else min(count or _cpus(), _MOST_PLACES)


def _check_one_way(**ways: object) -> None:
    given = [f"{name}={value!r}" for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other: give one of them")


def _check_cluster(dask: Any) -> None:
    if not isinstance(dask, str):
        raise TypeError(f"dask must be the address of a cluster or None, not {dask!r}")
    read_address(dask)
    check_installed("map_lines with dask")


def _count(name: str, value: Any, least: int) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number or None, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
    return value


def _of_type(name: str, value: Any, wanted: type[Any]) -> Any:
    if value is not None and not isinstance(value, wanted):
        raise TypeError(f"{name} must be {wanted.__name__} or None, not {value!r}")
    return value


def _texts(args: Iterable[str]) -> tuple[str, ...]:
    given = (args,) if isinstance(args, str) else tuple(args)
    if isinstance(args, str) or not all(isinstance(each, str) for each in given):
        raise TypeError(f"args must be strings, not {args!r}")
    return given
