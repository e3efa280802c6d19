"""Instances for the tests of the host, closed when a test ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wasmpool_host import Instance, Module, _capi
from wasmpool_host.lowlevel import PENDING, DrivenInstance, DrivenModule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.host.instance_of import DrivenInstanceOf, InstanceOf


async def compiled(source: Any, **options: Any) -> Module:
    return source if isinstance(source, Module) else await Module.compile(source, **options)


@pytest.fixture
async def instance_of() -> AsyncIterator[InstanceOf]:
    """Compile a module and make an instance of it; the arguments are `Module.compile`'s."""
    made: list[Instance] = []

    async def make(source: Any, **options: Any) -> Instance:
        instance = await (await compiled(source, **options)).instantiate()
        made.append(instance)
        return instance

    yield make
    for instance in made:
        await instance.aclose()


@pytest.fixture
async def driven_instance_of() -> AsyncIterator[DrivenInstanceOf]:
    """The same, for an instance that is driven step by step."""
    made: list[DrivenInstance] = []

    async def make(source: Any, **options: Any) -> DrivenInstance:
        instance = DrivenModule(await compiled(source, **options)).new_instance()
        if instance.start() is PENDING:  # the loop's budget may be spent
            await instance.finish()
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
