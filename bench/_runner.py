"""Run a scenario: each contender in a process of its own, in turns.

A round is one measurement of every case by every contender. So other load of the machine affects
all of them, and ratios within a round are meaningful even if the times are not.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Final, Self, final

import attrs

from bench._results import Results, Sample
from bench.contenders import ALL, is_installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bench._effort import Effort
    from bench._scenario import Case, Scenario

__all__ = ["run"]

_MOST_TIMES: Final = 2
_MOST_SECONDS: Final = 40
"""For the further rounds of a scenario; else those that take long would double the whole run."""


@final
class Worker:
    """The process of a contender."""

    def __init__(self, scenario: str, contender: str, effort: Effort) -> None:
        self._of = f"{contender} in {scenario}"
        self._process = subprocess.Popen(  # noqa: S603 - a process of our own
            [
                sys.executable, "-m", "bench._worker",
                scenario, contender, json.dumps(attrs.asdict(effort)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def measure(self, case: str) -> Sample:
        """Let it measure a case."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(case + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            message = f"{self._of}: its process ended with status {self._process.wait()}"
            raise RuntimeError(message)
        return Sample(**json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def run(scenario: Scenario, effort: Effort, tell: Callable[[str], None]) -> Results:
    """Measure a scenario; ``tell`` gets a short text at each step.

    After the rounds, a case whose spread is large is measured again, until it is not: at most
    `_MOST_TIMES` as often, and for `_MOST_SECONDS`. `Results.unsteady` has those whose spread is
    large even then.
    """
    results = Results()
    cases = [_present(case, tell) for case in scenario.cases(effort)]
    names = dict.fromkeys(name for case in cases for name in case.contenders)
    rounds = max(2, -(-effort.rounds // scenario.seldom))
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(scenario.name, name, effort)) for name in names}
        for turn in range(rounds):
            _measure(
                cases, workers, results, tell, f"{scenario.name}: round {turn + 1} of {rounds}"
            )
        until = perf_counter() + _MOST_SECONDS
        for turn in range(rounds, rounds * _MOST_TIMES):
            unsteady = results.unsteady(scenario.columns[0].key)
            cases = [case for case in cases if case.name in unsteady]
            if not cases or perf_counter() > until:
                break
            _measure(cases, workers, results, tell, f"{scenario.name}: again, round {turn + 1}")
    return results


def _measure(
    cases: Sequence[Case],
    workers: Mapping[str, Worker],
    results: Results,
    tell: Callable[[str], None],
    which: str,
) -> None:
    for case, name in _turns(cases):
        tell(f"{which}: {name}, {case}")
        results.add(case, name, workers[name].measure(case))


def _turns(cases: Sequence[Case]) -> Iterator[tuple[str, str]]:
    for case in cases:
        for contender in case.contenders:
            yield case.name, contender


def _present(case: Case, tell: Callable[[str], None]) -> Case:
    """The case without the contenders that are not installed."""
    missing = [name for name in case.contenders if name in ALL and not is_installed(name)]
    for name in missing:
        tell(f"{name} is not installed (extra `bench`): left out")
    return attrs.evolve(case, contenders=[n for n in case.contenders if n not in missing])
