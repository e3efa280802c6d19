"""What the tests of cycles look with."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING

import pytest
from tests.live_objects import live_objects

if TYPE_CHECKING:
    from collections.abc import Generator


class Knot:
    def __init__(self) -> None:
        self.me = self


class Loose:
    """In no cycle."""


@pytest.fixture(autouse=True)
def no_collector() -> Generator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_cycle_is_seen() -> None:
    """Each time, also of objects that another thread has made."""
    Knot()
    made = threading.Thread(target=Knot)
    made.start()
    made.join()
    for _ in range(3):
        assert live_objects([Knot]) == {Knot: 2}


def test_what_another_thread_has_made_is_gone_once_nobody_has_it() -> None:
    """Though that thread is idle, and counts no reference."""
    given, done = list[Loose](), threading.Event()

    def make() -> None:
        given.append(Loose())
        given.append(Loose())
        made.set()
        done.wait()

    made = threading.Event()
    maker = threading.Thread(target=make)
    maker.start()
    made.wait()
    try:
        assert live_objects([Loose]) == {Loose: 2}
        given.pop()
        assert live_objects([Loose]) == {Loose: 1}
        given.clear()
        assert live_objects([Loose]) == {}
    finally:
        done.set()
        maker.join()
