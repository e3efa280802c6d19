"""The run that state machines happen in."""

from __future__ import annotations

import pytest
import trio
from tests.pool.pumped import PumpedRun
from trio._core import _run


@pytest.mark.parametrize("fails", [False, True])
def test_run_that_has_ended_leaves_trio_as_it_was(fails: bool) -> None:
    """Its switch for a fixed order of tasks, and its random numbers."""

    async def fail() -> None:
        raise ValueError("its own")

    before = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()
    run = PumpedRun()
    assert _run._ALLOW_DETERMINISTIC_SCHEDULING
    if fails:
        with pytest.raises(ValueError, match="its own"):
            run.step(fail)
    else:
        run.step(trio.lowlevel.checkpoint)
    run.end(lambda: None)
    assert (_run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()) == before
