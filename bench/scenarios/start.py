"""Starting: the time until the first result."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final

from bench._plot import Line, Plot
from bench._results import Sample
from bench._scenario import Bound, Case, Column, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from bench._effort import Effort
    from bench._results import Results
    from bench._scenario import Round

__all__ = ["SCENARIO"]

_PEERS: Final = "import wasmtime, trio"
_IMPORT: Final = "import wasmpool"
_HELP: Final = "wasmpool --help"
_FIRST: Final = "first call"
_COMMANDS: Final = {
    "import nothing": ["-c", "pass"],
    _PEERS: ["-c", "import wasmtime, trio"],
    _IMPORT: ["-c", "import wasmpool"],
    _HELP: ["-m", "wasmpool", "--help"],
}
_PROGRAM: Final = """
import sys, time, trio
from wasmpool import Module, open_plugin
from wasmpool.example import PATH

async def main():
    began = time.perf_counter()
    async with open_plugin(PATH, cache=sys.argv[1]) as plugin:
        opened = time.perf_counter()
        await plugin.execute("echo", {"message": 1})
        print((opened - began) * 1e3, (time.perf_counter() - opened) * 1e3)

trio.run(main)
"""
_PROCESS: Final = "a process"


def _cases(_effort: Effort) -> list[Case]:
    names = [*_COMMANDS, "compile, open", "cached, open", _FIRST]
    return [Case(name, (_PROCESS,)) for name in names]


@asynccontextmanager
async def _open(_contender: str, effort: Effort) -> AsyncGenerator[Round]:
    times = 2 if effort.quick else 5
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as bytecode:
        for command in _COMMANDS.values():
            _run(command, bytecode)  # write the bytecode, as the first run on any machine does

        async def measure(case: str) -> Sample:
            if case == next(iter(_COMMANDS)):
                found.update(_in_turns(bytecode, times))
            if case == "compile, open":
                found.update(_first_calls(bytecode))
            return Sample({"ms": found[case]})

        yield measure


def _in_turns(bytecode: str, times: int) -> dict[str, float]:
    """The fastest run of each command. They take turns, so that other load affects all of them."""
    taken: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for _ in range(times):
        for name, command in _COMMANDS.items():
            taken[name].append(_run(command, bytecode)[0])
    return {name: min(each) for name, each in taken.items()}


def _first_calls(bytecode: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as cache:
        cold = _run(["-c", _PROGRAM, cache], bytecode)[1].split()
        warm = _run(["-c", _PROGRAM, cache], bytecode)[1].split()
    return {
        "compile, open": float(cold[0]),
        "cached, open": float(warm[0]),
        _FIRST: float(warm[1]),
    }


def _run(arguments: list[str], bytecode: str) -> tuple[float, str]:
    """The milliseconds of a process, and its output.

    The bytecode of its modules is kept in a directory of its own. Otherwise the times would depend
    on whether it can be written beside the sources.
    """
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    began = perf_counter()
    done = subprocess.run(  # noqa: S603 - a process of our own
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=environment | {"PYTHONPYCACHEPREFIX": bytecode},
    )
    return (perf_counter() - began) * 1e3, done.stdout


def _bounds(results: Results) -> Sequence[Bound]:
    def times(case: str) -> float | None:
        return results.ratio("ms", (case, _PROCESS), (_PEERS, _PROCESS))

    return [
        Bound("import wasmpool, of importing wasmtime and trio", times(_IMPORT), at_most=1.15),
        Bound("wasmpool --help, of the same", times(_HELP), at_most=2),
    ]


def _plots(results: Results) -> Sequence[Plot]:
    cases = list(results.samples)
    values = [results.median(case, _PROCESS, "ms") or 0 for case in cases]
    line = Line(list(range(len(cases))), values)
    return [Plot(title="Starting", x="step", y="ms", lines={"a process": line}, bars=cases)]


SCENARIO: Final = Scenario(
    name="start",
    measures=(
        "How long a process takes to import and to end, and how long the example plugin takes to"
        " open (compiled, and from the cache) and to answer its first call."
    ),
    objection=(
        "Files are in the kernel's cache, but after a restart they would not be; and the first four"
        " include the interpreter's own start."
    ),
    cases=_cases,
    open=_open,
    columns=[Column("ms", "ms")],
    bounds=_bounds,
    plots=_plots,
    seldom=2,
)
