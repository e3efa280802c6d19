"""Instances for the tests of the host, closed when a test ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wasmpool_host import Instance, Module, _capi

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


@pytest.fixture
def compiled_here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the binaries that were really compiled."""
    sizes: list[int] = []
    real = _capi.compile_binary

    def count(engine: object, binary: bytes) -> object:
        sizes.append(len(binary))
        return real(engine, binary)  # type: ignore[arg-type]

    monkeypatch.setattr(_capi, "compile_binary", count)
    return sizes
