"""The command with clusters of processes, as its users run it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import pytest

from wasmpool.example import PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

pytestmark = pytest.mark.slow

SECONDS: Final = 240.0
"""For one run, on a busy machine: each worker imports Dask."""


def in_time(condition: Callable[[], object]) -> None:
    """Wait until something is true that there is no event for."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@final
class Run:
    """One run of the command, in a process group of its own."""

    def __init__(self, *args: str | Path) -> None:
        command = [sys.executable, "-m", "wasmpool", "run", *map(str, args)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
            text=True,
        )

    def send(self, number: signal.Signals) -> None:
        os.killpg(self._process.pid, number)

    def end(self) -> tuple[int, str]:
        """Wait for its end; return the status, and what was printed to standard error."""
        _, errors = self._process.communicate(timeout=SECONDS)
        return self._process.returncode, errors

    def processes(self) -> list[int]:
        """The scheduler of its local cluster, and then its workers."""
        (scheduler,) = _children(self._process.pid, "cluster_process") or [0]
        return [scheduler, *_children(scheduler, "spawn_main")] if scheduler else []


def _children(parent: int, word: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
                if int(status[1]) == parent and word in words:
                    found.append(int(entry.name))
    return sorted(found)


def is_running(process: int) -> bool:
    """True for a process that has not ended; one that nobody has waited for has ended."""
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{process}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for files, apart from the one for temporary files of the runs."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    return tmp_path


def leftovers(folder: Path) -> list[Path]:
    return list((folder / "temporary").iterdir())


def write_lines(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def words(path: Path, count: int) -> Path:
    return write_lines(path, [f"some words and the number {each}" for each in range(count)])


@pytest.mark.parametrize("workers", [2, 4])
def test_the_output_is_that_of_a_plain_run(folder: Path, workers: int) -> None:
    """Byte for byte, with lines that fail; and nothing is left."""
    lines = [
        "{no json" if each % 100 == 7 else f"some words and the number {each}"
        for each in range(5000)
    ]
    text = write_lines(folder / "in.txt", lines)
    plain, dask = folder / "plain.jsonl", folder / "dask.jsonl"
    assert Run("--input", text, "--output", plain).end()[0] == 1
    run = Run("--input", text, "--output", dask, "--dask", f"local:{workers}")
    in_time(lambda: len(run.processes()) == 1 + workers)
    processes = run.processes()
    status, errors = run.end()
    assert status == 1, errors
    assert dask.read_bytes() == plain.read_bytes()
    assert f"threads of workers │ {workers:>21}" in errors
    assert not any(map(is_running, processes))
    assert not leftovers(folder)


def test_a_killed_worker_loses_nothing(folder: Path) -> None:
    """Its chunks are done by the other, or by the one that takes its place."""
    text = write_lines(folder / "in.txt", ['{"ms": 100}'] * 100)
    output = folder / "out.jsonl"
    run = Run(PATH, "--tool", "nap", "--input", text, "--output", output, "--dask", "local:2")
    in_time(lambda: output.exists() and output.stat().st_size)
    os.kill(run.processes()[1], signal.SIGKILL)
    status, errors = run.end()
    assert status == 0, errors
    assert output.read_text() == '{"data": "{\\"slept\\":100}"}\n' * 100


def test_a_scheduler_that_goes_away_leaves_what_was_done_for_a_resume(folder: Path) -> None:
    """A sentence says so; the next run does the rest."""
    text = write_lines(folder / "in.txt", [json.dumps({"ms": 50, "n": n}) for n in range(200)])
    output = folder / "out.jsonl"
    options: list[str | Path] = [PATH, "--tool", "nap", "--input", text]
    run = Run(*options, "--resume", output, "--dask", "local:2")
    in_time(lambda: output.exists() and output.stat().st_size)
    processes = run.processes()
    os.kill(processes[0], signal.SIGKILL)
    status, errors = run.end()
    assert status == 2
    assert "is gone" in errors
    assert 0 < len(output.read_text().splitlines()) < 200
    in_time(lambda: not any(map(is_running, processes)))
    status, errors = Run(*options, "--resume", output).end()
    assert status == 0, errors
    assert output.read_text() == '{"data": "{\\"slept\\":50}"}\n' * 200
    assert not leftovers(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_end_of_the_command_is_that_of_its_cluster(
    folder: Path, number: signal.Signals
) -> None:
    """By Ctrl-C, and if it is killed: no process and no file of it is left."""
    text = write_lines(folder / "in.txt", ['{"ms": 3600000}'] * 10)
    run = Run(PATH, "--tool", "nap", "--input", text, "--dask", "local:2")
    in_time(lambda: len(run.processes()) == 3)
    processes = run.processes()
    run.send(number)
    status, errors = run.end()
    assert status == (130 if number == signal.SIGINT else -signal.SIGKILL), errors
    in_time(lambda: not any(map(is_running, processes)))
    in_time(lambda: not leftovers(folder))


PROGRAM: Final = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="450MB",
                      dashboard_address="127.0.0.1:0") as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def small_cluster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster whose workers may use little memory, and are looked at often."""
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL", "10ms")
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    program = folder / "cluster.py"
    program.write_text(PROGRAM)
    with subprocess.Popen(
        [sys.executable, str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
        assert process.wait(SECONDS) == 0


def test_a_plugin_that_uses_up_the_memory_of_its_worker_fails_only_its_lines(
    folder: Path, small_cluster: str
) -> None:
    """Their rows name the end; the lines of the other chunks are answered."""
    lines = [json.dumps({"bytes": 1, "n": number}) for number in range(1000)]
    lines[500:520] = ['{"bytes": 600000000}'] * 20
    text = write_lines(folder / "in.txt", lines)
    output = folder / "out.jsonl"
    options: list[str | Path] = [PATH, "--tool", "grow", "--memory", "1GiB", "--input", text]
    run = Run(*options, "--output", output, "--dask", small_cluster)
    status, errors = run.end()
    assert status == 1, errors
    rows = [json.loads(row) for row in output.read_text().splitlines()]
    assert len(rows) == 1000
    failed = {number: row["error"] for number, row in enumerate(rows) if "error" in row}
    assert set(range(500, 520)) <= failed.keys()
    assert max(failed) - min(failed) == len(failed) - 1 < 900  # the chunks with these lines
    assert all("ended while it did this chunk" in error for error in failed.values()), failed


LEFT: Final = """
import os, threading
import trio
from wasmpool.batch import map_lines
from wasmpool.example import PATH

async def main():
    async with map_lines(PATH, ["words"] * 100, tool="word_count", dask="local:2") as rows:
        assert not [row async for row in rows if row.is_error]

trio.run(main)
threads = [each.name for each in threading.enumerate() if not each.name.startswith("Trio thread")]
files = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
sockets = [file for file in files if "socket:" in file]
children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
print(threads, sockets, children)
"""


def test_a_program_has_nothing_left(folder: Path) -> None:
    """No thread but Trio's own, no socket, no process, no file; it needs no guard for its main."""
    program = folder / "program.py"
    program.write_text(LEFT)
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    assert done.stdout == "['MainThread'] [] []\n", done.stderr
    assert not leftovers(folder)
