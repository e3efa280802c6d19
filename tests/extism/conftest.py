"""Extism plugins for the tests, each compiled once, and a server that they can ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.compiled_once import each_module_compiled_once
from tests.extism.comparison import Compared
from tests.http.server import Server, server

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["server"]


@pytest.fixture
def compared(server: Server, cache: Path, caplog: pytest.LogCaptureFixture) -> Compared:
    """What the answers of a guest are compared with."""
    return Compared(server=server, cache=cache, caplog=caplog)


@pytest.fixture(autouse=True, scope="module")
def compiled_once() -> Generator[None]:
    """What is tested here does not depend on how long a module takes to compile."""
    with each_module_compiled_once():
        yield
