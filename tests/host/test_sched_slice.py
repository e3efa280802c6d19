"""The slice that the ticker's thread requests from the kernel."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from wasmpool_host import Module
from wasmpool_host._scheduling import sched_slice

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
    """Its answer is yes; the nice value and the policy stay the same."""

    def ask() -> tuple[bool, int, int]:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 3)
        accepted = sched_slice.request_short_slice()
        nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        return accepted, nice, os.sched_getscheduler(0)

    assert in_a_thread(ask) == (True, 3, os.SCHED_OTHER)


def test_a_thread_of_another_policy_is_left_alone() -> None:
    """For example where the whole process runs in the background."""

    def ask() -> tuple[bool, int]:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        return sched_slice.request_short_slice(), os.sched_getscheduler(0)

    assert in_a_thread(ask) == (False, os.SCHED_IDLE)


def test_an_unknown_machine_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of the system call is not known there."""
    monkeypatch.setattr("platform.machine", lambda: "abacus")
    assert not in_a_thread(sched_slice.request_short_slice)


async def test_the_ticker_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its own thread, once."""
    asked: list[str] = []
    monkeypatch.setattr(
        "wasmpool_host._scheduling.epoch_ticker.request_short_slice",
        lambda: asked.append(threading.current_thread().name),
    )
    module = await Module.compile('(module (func (export "f")))')
    instance = await module.instantiate()
    for _ in range(5):
        await instance.call("f")
    await instance.aclose()
    assert asked == ["wasmpool ticker"]
