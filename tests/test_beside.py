"""A test that is marked ``alone`` has no other beside it."""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

from tests.beside import alone_or_beside_others

if TYPE_CHECKING:
    from pathlib import Path


def may_begin(folder: Path, *, alone: bool) -> bool:
    """Whether another test need not wait."""
    kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    with (folder / "running").open("w") as running, (folder / "next").open("w") as next_one:
        try:
            for file, lock in ((next_one, fcntl.LOCK_EX), (running, kind)):
                fcntl.flock(file, lock | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_no_other_begins_beside_one_that_is_alone(tmp_path: Path) -> None:
    """Until it has ended."""
    with alone_or_beside_others(tmp_path, alone=True):
        assert not may_begin(tmp_path, alone=False)
        assert not may_begin(tmp_path, alone=True)
    assert may_begin(tmp_path, alone=True)


def test_others_run_beside_each_other(tmp_path: Path) -> None:
    """And one that wants to be alone waits for all of them."""
    with alone_or_beside_others(tmp_path, alone=False):
        with alone_or_beside_others(tmp_path, alone=False):
            assert may_begin(tmp_path, alone=False)
        assert not may_begin(tmp_path, alone=True)
    assert may_begin(tmp_path, alone=True)
