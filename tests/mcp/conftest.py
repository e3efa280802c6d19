"""Loaders with the example plugin, and clients of what serves them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.compiled_once import each_module_compiled_once
from tests.mcp.busy_plugin import BusyPlugin

import wasmpool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

EXAMPLE = Path(wasmpool.__file__).parent / "example" / "example.wasm"


@pytest.fixture(autouse=True, scope="module")
def compiled_once() -> Generator[None]:
    """What is tested here does not depend on how long a module takes to compile."""
    with each_module_compiled_once():
        yield


@pytest.fixture
async def loader() -> AsyncGenerator[wasmpool.Loader]:
    """A loader with the example plugin, of eight instances."""
    async with wasmpool.open_loader(size=8, grace=0) as loader:
        await loader.load(EXAMPLE)
        yield loader


@pytest.fixture
async def plugin() -> BusyPlugin:
    """A plugin whose calls are long."""
    return BusyPlugin()


@pytest.fixture
async def busy(plugin: BusyPlugin) -> AsyncGenerator[wasmpool.Loader]:
    """A loader with this plugin, of 32 instances."""
    async with wasmpool.open_loader(size=32, grace=0) as loader:
        await plugin.load(loader)
        yield loader


@pytest.fixture(scope="session")
def example() -> Path:
    """The example plugin's file."""
    return EXAMPLE
