"""How long an export's calls are said to be, from those that were measured."""

from __future__ import annotations

from wasmpool_host._instance.call_history import LONG, MEDIUM, CallHistory


def test_short_calls_are_not_measured() -> None:
    """Nothing is recorded for them, and a call that only seemed long is forgotten soon."""
    history = CallHistory()
    assert not history.seconds
    history.mark_suspect()
    assert history.seconds == MEDIUM
    for _ in range(4):
        history.record(0.00001)
    assert not history.seconds


def test_three_long_calls_make_an_export_long() -> None:
    """The first was not measured, but a worker knows how long it computed there."""
    history = CallHistory()
    history.mark_suspect(1.0)
    assert not history.long
    history.record(1.0)
    history.record(1.0)
    assert history.long


def test_one_long_call_among_short_ones_does_not() -> None:
    """However long it was; and a few short ones end the time of many long ones."""
    history = CallHistory()
    history.mark_suspect()
    history.record(3_600.0)
    assert not history.long
    for _ in range(10):
        history.record(3_600.0)
    assert history.long
    for _ in range(4):
        history.record(0.00001)
    assert not history.long


def test_the_average_follows_the_calls() -> None:
    """Calls of medium length stay measured."""
    history = CallHistory()
    history.mark_suspect()
    for _ in range(40):
        history.record(LONG / 2)
    assert abs(history.seconds - LONG / 2) < LONG / 100
