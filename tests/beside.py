"""Whether tests of other processes may run beside a test, where pytest-xdist has several processes.

Each test holds the lock of a file that all of them share; one that is marked ``alone`` holds it
exclusively. A second lock is held while a test waits for the first. So a test that waits to be
alone holds up those that come after it, and waits only for those that have begun.
"""

from __future__ import annotations

import contextlib
import fcntl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["alone_or_beside_others"]


@contextlib.contextmanager
def alone_or_beside_others(folder: Path, *, alone: bool) -> Generator[None]:
    """Run the block with no other one beside it, or beside others that may have some.

    Args:
        folder: of all processes that run tests.
        alone: whether others have to wait.
    """
    with (folder / "running").open("w") as running, (folder / "next").open("w") as next_one:
        fcntl.flock(next_one, fcntl.LOCK_EX)
        fcntl.flock(running, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(next_one, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(running, fcntl.LOCK_UN)  # also if a child has a copy of the descriptor
