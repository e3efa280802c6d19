"""A fake module, and a check that no pool ever did to it what a pool may not do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.pool.fakes import KINDS, FakeModule, Kinds, SyncModule

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


@pytest.fixture(params=[FakeModule, SyncModule], ids=["in tasks", "in one step"])
def make_module(request: pytest.FixtureRequest) -> Generator[Callable[..., FakeModule]]:
    """Makes fake modules; at the end nothing of them may be live, or have been misused."""
    made: list[FakeModule] = []

    def make(identity: int = 1) -> FakeModule:
        made.append(request.param(identity))
        return made[-1]

    yield make
    for module in made:
        assert not module.violations
        assert not module.live
        assert module.starting == 0


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def kinds(request: pytest.FixtureRequest) -> Kinds:
    """For tests that make a module after the other."""
    order: Kinds = request.param
    return order


@pytest.fixture
def module(make_module: Callable[..., FakeModule]) -> FakeModule:
    return make_module()


@pytest.fixture
def module_in_tasks() -> Generator[FakeModule]:
    """One whose instances are started and closed by tasks, for a test that changes how."""
    module = FakeModule()
    yield module
    assert not module.violations
    assert not module.live
