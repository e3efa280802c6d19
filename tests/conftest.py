"""What all tests share: compiled code, and a garbage collector with little to look through."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def pytest_collection_finish() -> None:
    """Keep the tests themselves out of garbage collections, which many tests ask for."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for compiled code, for guests that take seconds to compile."""
    return tmp_path_factory.mktemp("cache")
