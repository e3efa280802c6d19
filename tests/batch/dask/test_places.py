from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, final

import attrs
import pytest
import trio

from wasmpool._batch.chunk import Chunk
from wasmpool._batch.dask import connection, extra, worker
from wasmpool._batch.dask.places import open_dask
from wasmpool._batch.job import Job
from wasmpool._batch.places import PlacesFailed
from wasmpool._batch.work import Work, open_work
from wasmpool.batch import map_lines
from wasmpool.example import PATH
from wasmpool_host.lowlevel import Source

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from tests.batch.dask.conftest import InThread

    from wasmpool._batch.chunk import ChunkRows
    from wasmpool._batch.places import Places

    OpenInThread = Callable[[int], AbstractAsyncContextManager[InThread]]
    Until = Callable[[Callable[[], bool]], Awaitable[None]]

JOB: Final = Job(file=str(PATH), tool="word_count", size=2, tasks=4)
SECRET: Final = "hunter2-and-more"  # noqa: S105 - of nobody


@pytest.fixture(scope="module")
def source() -> Source:
    return Source.read(PATH)


def chunk_of(lines: Sequence[str], number: int = 0) -> Chunk:
    data = "".join(f"{line}\n" for line in lines).encode()
    return Chunk(number=number, first_line=number * 1000 + 1, count=len(lines), data=data)


def data_of(rows: ChunkRows) -> list[Any]:
    return [json.loads(json.loads(row)["data"]) for row in rows.content.splitlines()]


async def test_rows_are_those_of_the_work_here(in_thread: OpenInThread, source: Source) -> None:
    """Of several chunks at once, with lines that fail among them."""
    chunks = [
        chunk_of([f"some words {number}", "{no json", "", "more"] * 10, number)
        for number in range(8)
    ]
    done: dict[int, ChunkRows] = {}

    async def do(places: Places, chunk: Chunk) -> None:
        done[chunk.number] = await places.do(chunk)

    async with in_thread(2) as cluster, open_dask(cluster.address, JOB, source) as places:
        assert places.size >= 4
        assert dict(places.facts())["threads of workers"] == "2"
        async with trio.open_nursery() as nursery:
            for chunk in chunks:
                nursery.start_soon(do, places, chunk)
    async with open_work(JOB, source) as work:
        for chunk in chunks:
            expected = await work.do(chunk)
            assert done[chunk.number].content == expected.content
            assert done[chunk.number].failed == expected.failed
            assert done[chunk.number].count == chunk.count


async def test_what_a_worker_opens_is_kept_between_chunks_and_runs(
    in_thread: OpenInThread, source: Source
) -> None:
    """One instance remembers what it was told; another option opens another one."""
    job = attrs.evolve(JOB, tool="remember", size=1, tasks=1)
    recall = attrs.evolve(job, tool="recall")
    async with in_thread(1) as cluster:
        async with open_dask(cluster.address, recall, source) as places:
            assert data_of(await places.do(chunk_of(["{}"]))) == [{"value": None}]
        async with open_dask(cluster.address, job, source) as places:
            await places.do(chunk_of(['{"value": 7}']))
            await places.do(chunk_of(['{"value": 8}'], 1))
        async with open_dask(cluster.address, recall, source) as places:
            assert data_of(await places.do(chunk_of(["{}"]))) == [{"value": None}]


async def test_the_module_is_compiled_once_by_a_worker(
    in_thread: OpenInThread, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directory of that worker, which nobody else can write to."""
    opened: list[Job] = []

    def note(job: Job, module: Source) -> Any:
        opened.append(job)
        return open_work(job, module)

    monkeypatch.setattr(worker, "open_work", note)
    async with in_thread(1) as cluster:
        directory = cluster.workers[0].local_directory
        async with open_dask(cluster.address, JOB, source) as places:
            for number in range(5):
                await places.do(chunk_of(["words"], number))
    assert [job.cache for job in opened] == [f"{directory}/wasmpool"]


async def test_the_module_is_not_sent_with_each_chunk(
    in_thread: OpenInThread, source: Source
) -> None:
    """One worker has it first, and the other fetches it once."""
    async with in_thread(2) as cluster:
        opening = open_dask(cluster.address, JOB, source)
        async with opening as places, trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(places.do, chunk_of(["words"] * 20, number))
        fetched = [
            key
            for each in cluster.workers
            for transfer in each.transfer_incoming_log
            for key in transfer["keys"]
            if "module" in key
        ]
    assert len(fetched) <= 1


async def test_the_trio_run_of_workers_ends_with_them(
    in_thread: OpenInThread, source: Source
) -> None:
    """The two of one process share it, and the last one ends it."""

    def running() -> list[str]:
        return [each.name for each in threading.enumerate() if each.name == "wasmpool"]

    async with in_thread(2) as cluster:
        opening = open_dask(cluster.address, JOB, source)
        async with opening as places, trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(places.do, chunk_of(["words"] * 20, number))
        assert running() == ["wasmpool"]
        await cluster.do(cluster.workers[0].close)
        await cluster.do(cluster.workers[1].close)
        assert running() == []


@pytest.mark.parametrize("line", ['{"ms": 3600000}', '{"rounds": 1000000000000}'])
async def test_a_cancel_ends_the_work_on_the_worker(
    in_thread: OpenInThread, source: Source, until: Until, line: str
) -> None:
    """A guest that waits, or computes, for an hour; the worker then does other work."""
    tool = "nap" if "ms" in line else "spin"
    job = attrs.evolve(JOB, tool=tool, size=1, tasks=1)
    async with in_thread(1) as cluster, open_dask(cluster.address, job, source) as places:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(places.do, chunk_of([line]))
                await until(lambda: bool(_jobs(cluster)))
                scope.cancel()
        assert scope.cancelled_caught
        await until(lambda: not _jobs(cluster))
        (row,) = data_of(await places.do(chunk_of(['{"ms": 1, "rounds": 1}'], 1)))
        assert row in ({"slept": 1}, {"value": 1013904223})


async def test_the_work_ends_with_the_connection_of_the_batch(
    in_thread: OpenInThread, source: Source, until: Until
) -> None:
    """The batch is killed, say: its scheduler notices, and forgets its tasks."""
    job = attrs.evolve(JOB, tool="nap", size=1, tasks=1)

    async def do(places: Places) -> None:
        with pytest.raises(PlacesFailed, match="is gone"):
            await places.do(chunk_of(['{"ms": 3600000}']))

    async with in_thread(1) as cluster:
        opening = open_dask(cluster.address, job, source)
        async with opening as places, trio.open_nursery() as nursery:
            nursery.start_soon(do, places)
            await until(lambda: bool(_jobs(cluster)))
            for comm in list(cluster.scheduler.client_comms.values()):
                await cluster.do(comm.comm.abort)
            await until(lambda: not _jobs(cluster))
        await until(lambda: not cluster.scheduler.tasks)


def _jobs(cluster: InThread, *workers: Any) -> list[str]:
    """The keys of the chunks that workers do; all workers by default."""
    residents = [each.plugins.get("wasmpool") for each in workers or cluster.workers]
    return [key for each in residents if each is not None for key in each._jobs]


async def test_a_worker_that_closes_gives_its_chunks_to_the_others(
    in_thread: OpenInThread, source: Source, until: Until
) -> None:
    """Nothing is lost."""
    job = attrs.evolve(JOB, tool="nap")
    done: list[ChunkRows] = []

    async def do(places: Places, number: int) -> None:
        done.append(await places.do(chunk_of(['{"ms": 5}'] * 20, number)))

    async with in_thread(2) as cluster:
        first = cluster.workers[0]
        opening = open_dask(cluster.address, job, source)
        async with opening as places, trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(do, places, number)
            await until(lambda: bool(_jobs(cluster, first)))
            await cluster.do(first.close)
    assert [rows.count for rows in done] == [20] * 6
    assert not any(rows.failed for rows in done)


async def test_a_scheduler_that_goes_away_ends_all_chunks_with_a_sentence(
    in_thread: OpenInThread, source: Source, until: Until
) -> None:
    """And those that come later."""
    job = attrs.evolve(JOB, tool="nap")
    sentences: list[str] = []

    async def do(places: Places, number: int) -> None:
        with pytest.raises(PlacesFailed) as caught:
            await places.do(chunk_of(['{"ms": 3600000}'], number))
        sentences.append(str(caught.value))

    async with in_thread(1) as cluster, open_dask(cluster.address, job, source) as places:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(do, places, 0)
            nursery.start_soon(do, places, 1)
            await until(lambda: bool(_jobs(cluster)))
            await cluster.do(cluster.scheduler.close)
        await do(places, 2)
    assert sentences == [f"the scheduler {cluster.address} is gone"] * 3


async def test_other_versions_are_refused_at_once(
    in_thread: OpenInThread, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence names both sides."""
    monkeypatch.setattr(connection, "versions_here", lambda: {"wasmtime": "1.0"})
    async with in_thread(1) as cluster:
        with pytest.raises(PlacesFailed, match=r"has wasmtime [0-9.]+, and this side has 1.0"):
            async with open_dask(cluster.address, JOB, source):
                pass


async def test_a_worker_that_comes_later_compares_the_versions_itself(
    in_thread: OpenInThread, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it opens anything that was sent."""

    async def unchecked(_: object) -> dict[str, str]:
        return {"wasmpool": "7.0"}

    monkeypatch.setattr(connection, "_checked_versions", unchecked)
    async with in_thread(1) as cluster, open_dask(cluster.address, JOB, source) as places:
        with pytest.raises(PlacesFailed, match="the worker tcp://.* wasmpool.* this side has 7.0"):
            await places.do(chunk_of(["words"]))


async def test_a_module_that_a_worker_cannot_open_is_a_sentence(
    in_thread: OpenInThread, source: Source
) -> None:
    """It names the worker, and why."""
    job = attrs.evolve(JOB, tool="nothing")
    async with in_thread(1) as cluster, open_dask(cluster.address, job, source) as places:
        with pytest.raises(PlacesFailed, match="the worker tcp://.* cannot open .* has no tool"):
            await places.do(chunk_of(["words"]))


@final
class Records(logging.Handler):
    """All that Dask logs."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage()


async def test_credentials_and_lines_are_shown_nowhere(
    in_thread: OpenInThread, source: Source, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even in what Dask logs of a task that has failed, in its keys, or in its state."""
    credentials = {"base_url": f"https://{SECRET}.example.com"}
    job = attrs.evolve(JOB, tool="nap", credentials=credentials)
    line = json.dumps({"ms": 3_600_000, "why": SECRET})
    records, logger = Records(), logging.getLogger("distributed")
    monkeypatch.setattr(logger, "handlers", [records])
    monkeypatch.setattr(logger, "level", logging.DEBUG)

    async def fail(_: object, chunk: Chunk) -> ChunkRows:
        raise LookupError("a mistake")

    async with in_thread(1) as cluster, open_dask(cluster.address, job, source) as places:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(places.do, chunk_of([line]))
            await until(lambda: bool(_jobs(cluster)))
            state = repr([(each, each.run_spec) for each in cluster.scheduler.tasks.values()])
            nursery.cancel_scope.cancel()
        monkeypatch.setattr(Work, "do", fail)
        with pytest.raises(PlacesFailed, match="could not run the work: LookupError: a mistak"):
            await places.do(chunk_of([line], 1))
    assert "Compute Failed" in records.text
    assert "wasmpool-chunk" in state
    assert SECRET not in records.text
    assert SECRET not in state


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler has one second to answer."""
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 1.0)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("behaviour", ["refuses", "says nothing", "closes", "is a web server"])
async def test_an_address_without_a_scheduler_is_a_sentence_in_time(
    source: Source, behaviour: str
) -> None:
    """Whatever is there instead."""

    async def answer(stream: trio.SocketStream) -> None:
        if behaviour == "says nothing":
            await trio.sleep_forever()
        if behaviour == "is a web server":
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        await stream.aclose()

    async def serve(listeners: Sequence[trio.SocketListener]) -> None:
        await trio.serve_listeners(answer, list(listeners))

    with ExitStack() as stack, trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            if behaviour == "refuses":
                taken = stack.enter_context(socket.socket())
                taken.bind(("127.0.0.1", 0))
                port = taken.getsockname()[1]
            else:
                listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
                port = listeners[0].socket.getsockname()[1]
                nursery.start_soon(serve, listeners)
            with pytest.raises(
                PlacesFailed, match=f"no scheduler of Dask at tcp://127.0.0.1:{port}"
            ):
                async with open_dask(f"127.0.0.1:{port}", JOB, source):
                    pass
            nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("address", ["tls://127.0.0.1:9", "tcp://no-such-host.invalid:8786"])
async def test_tls_without_certificates_and_an_unknown_host_are_sentences(
    source: Source, address: str
) -> None:
    """Both name the address."""
    with (
        trio.fail_after(60),
        pytest.raises(PlacesFailed, match=f"no scheduler of Dask at {address}"),
    ):
        async with open_dask(address, JOB, source):
            pass


async def test_a_cancel_while_it_connects_leaves_nothing(source: Source) -> None:
    """To something that accepts and says nothing."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        accepted = trio.Event()

        async def accept(stream: trio.SocketStream) -> None:
            accepted.set()
            await trio.sleep_forever()

        nursery.start_soon(trio.serve_listeners, accept, listeners)
        port = listeners[0].socket.getsockname()[1]
        with trio.fail_after(60), trio.CancelScope() as scope:

            async def cancel() -> None:
                await accepted.wait()
                scope.cancel()

            nursery.start_soon(cancel)
            async with open_dask(f"127.0.0.1:{port}", JOB, source):
                pytest.fail("it is connected")
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()


async def test_map_lines_has_the_rows_of_a_cluster(in_thread: OpenInThread) -> None:
    """In the order of the input, with bad lines as errors."""
    lines = [f"some words {number}" for number in range(3000)]
    lines[1234] = "{no json"
    async with in_thread(2) as cluster:
        opening = map_lines(PATH, lines, tool="word_count", dask=cluster.address)
        async with opening as rows:
            found = [row async for row in rows]
    assert [row.number for row in found] == list(range(1, 3001))
    assert [row.number for row in found if row.is_error] == [1235]


def test_map_lines_checks_the_cluster_before_anything_begins() -> None:
    """Its address, and that nothing else is to do the lines."""
    with pytest.raises(ValueError, match="'nowhere' is not the address of a scheduler"):
        map_lines(PATH, [], dask="nowhere")
    with pytest.raises(ValueError, match="exclude each other"):
        map_lines(PATH, [], dask="local", processes=2)
    with pytest.raises(TypeError, match="dask must be the address of a cluster or None, not 7"):
        map_lines(PATH, [], dask=7)  # type: ignore[arg-type]


@pytest.mark.parametrize("missing", ["distributed", "cryptography"])
def test_a_missing_extra_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is asked for."""
    monkeypatch.setattr(extra, "find_spec", lambda name: None if name == missing else name)
    with pytest.raises(ImportError, match=rf'{missing}: pip install "wasmpool\[dask\]"'):
        map_lines(PATH, [], dask="local")


def test_dask_is_imported_by_those_who_use_it() -> None:
    """Neither by the package, nor by what a batch without it needs, nor by the help."""
    program = (
        "import sys, wasmpool.batch, wasmpool._cli.run_command, wasmpool._cli.commands;"
        " assert not {'distributed', 'dask', 'cryptography'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
