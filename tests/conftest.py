"""What all tests share: waits, cancels at any step, and a collector with little to look through."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
from time import monotonic
from typing import TYPE_CHECKING, Final, final

import pytest
import trio
from tests.beside import alone_or_beside_others

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from pathlib import Path


SLOW_SECONDS: Final = os.environ.get("WASMPOOL_SLOW_SECONDS")
"""Seconds after which no further slow test begins; None is no limit."""

SLOW_SEED: Final = os.environ.get("WASMPOOL_SLOW_SEED", "1")
"""Decides the order of the files then, so that each of them has its turn."""

_BEGAN: Final = pytest.StashKey[float]()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for all tests; what is named on the command line runs in this one."""
    return 2 if config.args_source is config.ArgsSource.TESTPATHS else 0


def pytest_configure() -> None:
    """Have Ctrl-C interrupt again: commands that a shell runs in the background ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Shuffle the files, if there is not the time for all slow tests."""
    if SLOW_SECONDS is not None:
        files = list(dict.fromkeys(item.path for item in items))
        random.Random(SLOW_SEED).shuffle(files)
        items.sort(key=lambda item: files.index(item.path))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin no slow test once the time for them is over."""
    if SLOW_SECONDS is not None and item.get_closest_marker("slow") is not None:
        over = monotonic() - item.config.stash[_BEGAN] - float(SLOW_SECONDS)
        if over > 0:
            pytest.skip(f"WASMPOOL_SLOW_SECONDS={SLOW_SECONDS} are over")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the tests themselves out of garbage collections, which many tests ask for."""
    _freeze()
    session.config.stash[_BEGAN] = monotonic()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """Do the same with what the tests of a file leave: reports, logs and imported packages."""
    yield
    if nextitem is not None and nextitem.path != item.path:
        _freeze()


def _freeze() -> None:
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _beside(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[None]:
    """Let no other test run beside one that is marked ``alone``."""
    alone = request.node.get_closest_marker("alone") is not None
    with alone_or_beside_others(_shared(tmp_path_factory), alone=alone):
        yield


def _shared(factory: pytest.TempPathFactory) -> Path:
    """The directory of the whole run, which may have several processes."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for compiled code, for guests that take seconds to compile."""
    cache = _shared(tmp_path_factory) / "cache"
    cache.mkdir(mode=0o700, exist_ok=True)
    return cache


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits for what servers, files and other tasks will have done, and have no event for."""

    async def wait(condition: Callable[[], bool]) -> None:
        with trio.fail_after(60):
            while not condition():  # noqa: ASYNC110 - as it says
                await trio.sleep(0.001)

    return wait


@final
class _CancelAt(trio.abc.Instrument):
    """Cancels a scope when any task is about to take the n-th step from now."""

    def __init__(self, step: int, scope: trio.CancelScope) -> None:
        self._left = step
        self._scope = scope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left == 0:
            self._scope.cancel()


@pytest.fixture
def cancelled_at() -> Callable[[int], contextlib.AbstractContextManager[trio.CancelScope]]:
    """A block that is cancelled at one step; a test of all steps has cancelled it everywhere."""

    @contextlib.contextmanager
    def block(step: int) -> Generator[trio.CancelScope, None, None]:
        with trio.CancelScope() as scope:
            instrument = _CancelAt(step, scope)
            trio.lowlevel.add_instrument(instrument)
            try:
                yield scope
            finally:
                trio.lowlevel.remove_instrument(instrument)

    return block
