"""Instances for the tests of the host, closed when a test ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wasmpool_host import Instance, Module

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    InstanceOf = Callable[..., Awaitable[Instance]]


@pytest.fixture
async def instance_of() -> AsyncIterator[InstanceOf]:
    """Compile a module and make an instance of it; the arguments are `Module.compile`'s."""
    made: list[Instance] = []

    async def make(source: Any, **options: Any) -> Instance:
        module = source if isinstance(source, Module) else await Module.compile(source, **options)
        instance = await module.instantiate()
        made.append(instance)
        return instance

    yield make
    for instance in made:
        await instance.aclose()
