"""A program of its own for each run: a pristine instance, its arguments, its output."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
import wasmtime

from bench._guests import PROGRAM, PROGRAM_SOURCE
from bench._load import per_call
from bench._plot import Line, Plot
from bench._results import Sample
from bench._scenario import Bound, Case, Column, Scenario
from wasmpool import Module, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from bench._effort import Effort
    from bench._results import Results
    from bench._scenario import Round

__all__ = ["SCENARIO"]

_LINE: Final = "hello\n"
_ARGS: Final = ["program", "say", _LINE, ""]
_CONTENDERS: Final = ("wheel", "subprocess", "wasmpool")
_TASKS: Final = (1, 32)


def _name(tasks: int) -> str:
    return f"{tasks} task{'' if tasks == 1 else 's'}"


def _cases(_effort: Effort) -> list[Case]:
    return [Case(_name(tasks), _CONTENDERS) for tasks in _TASKS]


@asynccontextmanager
async def _open(contender: str, effort: Effort) -> AsyncGenerator[Round]:
    async with AsyncExitStack() as stack:
        run = await _opened(stack, contender)
        if await run() != _LINE.encode():
            message = f"{contender}: the program did not print {_LINE!r}"
            raise RuntimeError(message)

        async def measure(case: str) -> Sample:
            return Sample(
                {"us": await per_call(run, int(case.split(maxsplit=1)[0]), effort.seconds)}
            )

        yield measure


async def _opened(stack: AsyncExitStack, contender: str) -> Callable[[], Awaitable[bytes]]:
    """Return what runs the program once, and returns what it printed."""
    if contender == "wheel":
        return _Wheel().run
    if contender == "subprocess":
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        return partial(_in_process, await trio.to_thread.run_sync(_native, folder))
    module = await Module.compile(PROGRAM)
    pool = await stack.enter_async_context(open_pool(module, size=8, min_size=4))

    async def run() -> bytes:
        return (await pool.run(_ARGS)).stdout

    return run


class _Wheel:
    """wasmtime's own API: a store, its WASI and an instance for each run, in a thread."""

    def __init__(self) -> None:
        self._engine = wasmtime.Engine()
        linker = wasmtime.Linker(self._engine)
        linker.define_wasi()
        module = wasmtime.Module(self._engine, PROGRAM.read_bytes())
        self._linked = linker.instantiate_pre(module)

    async def run(self) -> bytes:
        return await trio.to_thread.run_sync(self._run)

    def _run(self) -> bytes:
        printed: list[bytes] = []
        config = wasmtime.WasiConfig()
        config.argv = _ARGS
        config.stdout_custom = printed.append
        store = wasmtime.Store(self._engine)
        store.set_wasi(config)
        start = self._linked.instantiate(store).exports(store)["_start"]
        assert isinstance(start, wasmtime.Func)
        start(store)
        return b"".join(printed)


def _native(folder: str) -> Path:
    """Compile the same program for this machine."""
    target = Path(folder, "program")
    command = [sys.executable, "-m", "ziglang", "cc", "-O2", str(PROGRAM_SOURCE), "-o", str(target)]
    subprocess.run(command, check=True)  # noqa: S603 - a process of our own
    return target


async def _in_process(program: Path) -> bytes:
    done = await trio.run_process([program, *_ARGS[1:]], capture_stdout=True)
    printed: bytes = done.stdout
    return printed


def _bounds(results: Results) -> Sequence[Bound]:
    tasks = _name(_TASKS[-1])
    faster = results.ratio("us", (tasks, "wheel"), (tasks, "wasmpool"))
    return [Bound(f"as fast as the wheel, {tasks}", faster, at_least=2)]


def _plots(results: Results) -> Sequence[Plot]:
    cases = list(results.samples)
    lines = {
        contender: Line(
            list(range(len(cases))), [results.median(case, contender, "us") or 0 for case in cases]
        )
        for contender in _CONTENDERS
    }
    return [Plot(title="A run of a program", x="case", y="µs a run", lines=lines, bars=cases)]


SCENARIO: Final = Scenario(
    name="program",
    measures="What a run of a C program costs that prints one line, in an instance of its own.",
    objection=(
        "The subprocess is not isolated from the machine's files; and a program that computes for"
        " long costs the same wherever it runs."
    ),
    cases=_cases,
    open=_open,
    columns=[Column("us", "µs a run")],
    bounds=_bounds,
    plots=_plots,
)
