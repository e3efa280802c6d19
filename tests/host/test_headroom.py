"""The room on the Python stack."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from wasmpool_host._scheduling.headroom import FRAMES_TO_START, headroom, prober

if TYPE_CHECKING:
    from collections.abc import Callable


def _frames_left_where_it_passes(probe: Callable[[], object]) -> int:
    """Go down to the end of the stack; return how many levels were left at the last pass."""
    last_pass = deepest = 0

    def go_down(depth: int) -> None:
        nonlocal last_pass, deepest
        deepest = depth
        try:
            probe()
        except RecursionError:
            pass
        else:
            last_pass = depth
        go_down(depth + 1)

    with pytest.raises(RecursionError):
        go_down(0)
    return deepest - last_pass


def _go_down(frames: int) -> None:
    if frames:
        _go_down(frames - 1)


@pytest.mark.parametrize("frames", [4, FRAMES_TO_START, 32])
def test_it_passes_where_there_is_room_for_all_frames(frames: int) -> None:
    """And it raises where a recursion would, within two frames, whatever way it takes."""
    least = _frames_left_where_it_passes(partial(_go_down, frames))
    for probe in (prober(frames), partial(headroom, frames)):
        assert least <= _frames_left_where_it_passes(probe) <= least + 2
