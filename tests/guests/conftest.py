"""Guests are compiled once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.compiled_once import each_module_compiled_once

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(autouse=True, scope="module")
def compiled_once() -> Generator[None]:
    """What is tested here is what guests do."""
    with each_module_compiled_once():
        yield
