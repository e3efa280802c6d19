"""What all tests share: a garbage collector with little to look through."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """Keep the tests themselves out of garbage collections, which many tests ask for."""
    gc.collect()
    gc.freeze()
