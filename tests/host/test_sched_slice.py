"""The slices that threads request from the kernel."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio
from tests.host.seams import slice_of_this_thread

from wasmpool_host import Module
from wasmpool_host._scheduling.ready_queue import Job, ReadyQueue
from wasmpool_host._scheduling.sched_slice import LONG_SLICE, SHORTEST_SLICE, request_slice

if TYPE_CHECKING:
    import pytest


def in_a_thread(what: object) -> object:
    got: list[object] = []

    def run() -> None:
        got.append(what())  # type: ignore[operator]

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return got[0]


def test_the_kernel_accepts_it() -> None:
    """The nice value and the policy stay the same; and what was before can be requested again."""

    def ask() -> tuple[int, int, int, int]:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 3)
        before = slice_of_this_thread()
        restore = request_slice(SHORTEST_SLICE)
        requested = slice_of_this_thread()
        nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        assert restore is not None
        restore()
        return requested, slice_of_this_thread() - before, nice, os.sched_getscheduler(0)

    assert in_a_thread(ask) == (SHORTEST_SLICE, 0, 3, os.SCHED_OTHER)


def test_a_thread_of_another_policy_is_left_alone() -> None:
    """For example where the whole process runs in the background."""

    def ask() -> tuple[object, int]:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        return request_slice(SHORTEST_SLICE), os.sched_getscheduler(0)

    assert in_a_thread(ask) == (None, os.SCHED_IDLE)


def test_an_unknown_machine_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of the system call is not known there."""
    monkeypatch.setattr("platform.machine", lambda: "abacus")
    assert in_a_thread(partial(request_slice, SHORTEST_SLICE)) is None


async def test_the_ticker_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its own thread, once."""
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(
        "wasmpool_host._scheduling.epoch_ticker.request_slice",
        lambda length: asked.append((threading.current_thread().name, length)),
    )
    module = await Module.compile('(module (func (export "f")))')
    instance = await module.instantiate()
    for _ in range(5):
        await instance.call("f")
    await instance.aclose()
    assert asked == [("wasmpool ticker", SHORTEST_SLICE)]


@attrs.define(eq=False)
class Asking:
    """A fiber of three steps, which notes the slices of its worker."""

    slices: list[int] = attrs.field(factory=list[int])

    def step(self) -> bool:
        """Look."""
        self.slices.append(slice_of_this_thread())
        return len(self.slices) == 3

    def hasten(self) -> None:
        """Its steps end by themselves."""

    def come_back(self) -> None:
        """A task waits for it."""


async def test_a_worker_has_long_slices_from_the_second_step_on() -> None:
    """A guest that is done soon is not worth the request; the thread is trio's, and is restored."""
    queue = ReadyQueue(1)
    usual = await trio.to_thread.run_sync(slice_of_this_thread)
    for _ in range(2):
        fiber = Asking()
        job = Job(fiber)
        queue.submit(job)
        await queue.wait(job)
        assert fiber.slices == [usual, LONG_SLICE, LONG_SLICE]
