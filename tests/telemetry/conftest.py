"""Threads that interleave more than usual."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from tests.compiled_once import each_module_compiled_once

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(autouse=True, scope="module")
def compiled_once() -> Generator[None]:
    with each_module_compiled_once():
        yield


@pytest.fixture
def short_turns() -> Generator[None]:
    """Each thread has a turn of 50 us, so that a reader is often in the middle of a change."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.00005)
    yield
    sys.setswitchinterval(before)
