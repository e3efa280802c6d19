"""The table of what became of the suite's commands, at the end of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.spec.tally import Tally

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

_TALLY = pytest.StashKey[Tally]()


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    return pytestconfig.stash.setdefault(_TALLY, Tally())


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    counted = config.stash.get(_TALLY, None)
    if counted is not None:
        terminalreporter.write_sep("-", "the spec suite")
        terminalreporter.write_line(counted.table())
