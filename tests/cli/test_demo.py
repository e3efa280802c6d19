"""``wasmpool demo``: the race, and what is shown of it."""

from __future__ import annotations

import re

import pytest
import trio

from wasmpool._cli import demo, demo_race
from wasmpool._cli.demo_race import Kind, new_sides, run_race


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> int:
    """The number of calls, of which every fourth is left; the endless one is among them."""
    left = demo_race._calls()[1::4]
    assert Kind.SPIN in [call.kind for call in left]
    monkeypatch.setattr(demo_race, "_calls", lambda: left)
    monkeypatch.setattr(demo_race, "CALLS", len(left))
    monkeypatch.setattr(demo, "CALLS", len(left))
    return len(left)


async def test_all_calls_are_answered_and_the_text_is_plain(
    calls: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both sides end with the new version; without a terminal only the times are shown."""
    sides = new_sides()
    monkeypatch.setattr(demo, "new_sides", lambda: sides)
    assert await demo.run_demo() == 0
    for side in sides:
        assert side.done == calls
        assert [cell.kind for cell in side.cells] == [None] * len(side.cells)
        assert any(cell.generation == 2 for cell in side.cells)
    locked, pooled = sides
    assert locked.took is not None
    assert pooled.took is not None
    assert locked.took > pooled.took
    out, err = capfd.readouterr()
    assert err == ""
    assert "\x1b" not in out
    assert f"{locked.took:5.2f} s, a new version serves after {locked.reloaded:.2f} s\n" in out
    assert f"{pooled.took:5.2f} s, a new version serves after {pooled.reloaded:.2f} s\n" in out
    assert len(re.findall(r"^  wasmpool ", out, re.MULTILINE)) == 3


async def test_the_strip_shows_the_endless_call_beside_others() -> None:
    """While one instance of the pool spins, others serve calls that wait."""
    locked, pooled = new_sides()
    beside_it = set[Kind | None]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_race, locked, pooled)
        while pooled.took is None:
            await trio.sleep(0.001)
            kinds = [cell.kind for cell in pooled.cells]
            if Kind.SPIN in kinds:
                kinds.remove(Kind.SPIN)
                beside_it.update(kinds)
        nursery.cancel_scope.cancel()
    assert Kind.WAIT in beside_it
