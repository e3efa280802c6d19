"""Loaders with the example plugin, and clients of what serves them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.compiled_once import each_module_compiled_once

import wasmpool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

GUESTS = Path(__file__).parents[1] / "guests"
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


@pytest.fixture(scope="session")
def example() -> Path:
    """The example plugin's file."""
    return EXAMPLE


@pytest.fixture(scope="session")
def wat() -> Callable[[str, str], str]:
    """The plugin by hand as text, with another name and with one of its tools renamed."""
    text = (GUESTS / "wat_plugin.wat").read_text()

    def variant(name: str, tool: str = "overlap") -> str:
        renamed = text.replace('16) "wat_plugin"', f'16) "{name}"')
        return renamed.replace('\\"overlap\\"', f'\\"{tool}\\"')

    return variant
