"""Errors have families, and the ways to open things say how they are entered."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

import wasmpool
from wasmpool import Module, open_extism, open_loader, open_plugin, open_pool
from wasmpool.example import PATH

if TYPE_CHECKING:
    from collections.abc import Callable

FAMILIES = {
    "GuestError": "CallTimeout ExtismError GuestExit GuestMemoryError GuestTrap",
    "InstanceError": "InstanceClosed InstancePoisoned",
    "ModuleError": "AbiError CompileError DigestError LinkError SnapshotError",
    "PluginError": "ConfigureError PluginClosed ReloadFailed",
    "PoolError": "LeaseDeadlock LeaseExpired LeaseRevoked PoolClosed PoolSaturated PoolTimeout"
    " PoolUnavailable ReloadFailed",
}


@pytest.mark.parametrize(("family", "members"), FAMILIES.items())
def test_a_family_has_exactly_these_members(family: str, members: str) -> None:
    """One `except` of the family catches each of them, and nothing of another family."""
    base = getattr(wasmpool, family)
    public = {name: getattr(wasmpool, name) for name in wasmpool.__all__}
    found = [
        name
        for name, thing in public.items()
        if inspect.isclass(thing) and issubclass(thing, base) and thing is not base
    ]
    assert sorted(found) == sorted(members.split())


def test_every_error_is_of_the_library() -> None:
    """All public exceptions are `WasmpoolError`s, so one `except` catches what is not misuse."""
    public = [getattr(wasmpool, name) for name in wasmpool.__all__]
    errors = [each for each in public if inspect.isclass(each) and issubclass(each, Exception)]
    assert len(errors) == 5 + 1 + len(" ".join(FAMILIES.values()).split()) - 1  # one is in two
    assert all(issubclass(each, wasmpool.WasmpoolError) for each in errors)
    assert {each.__module__ for each in errors} <= {"wasmpool", "wasmpool_host"}


OPENERS: list[tuple[Callable[[Any], Any], str]] = [
    (open_pool, "async with open_pool(...) as pool:"),
    (lambda _: open_plugin(PATH), "async with open_plugin(...) as plugin:"),
    (lambda _: open_extism("(module)"), "async with open_extism(...) as plugin:"),
    (lambda _: open_loader(), "async with open_loader(...) as loader:"),
]


@pytest.mark.parametrize(("opener", "how"), OPENERS)
async def test_what_is_not_entered_says_how(opener: Callable[[Any], Any], how: str) -> None:
    """Used as the thing itself, awaited, or entered by a plain `with`."""
    block = opener(await Module.compile("(module)"))
    assert how in repr(block)
    with pytest.raises(AttributeError, match="has no 'call': it is a block") as error:
        block.call("f")
    assert how in str(error.value)
    with pytest.raises(TypeError, match=r"is not awaited: use `async with"):
        await block
    with pytest.raises(TypeError, match=r"needs `async with`"), block:
        pass


async def test_a_lease_says_how_it_is_entered() -> None:
    """Awaited, or entered by a plain `with`."""
    async with open_pool(await Module.compile("(module)")) as pool:
        lease: Any = pool.lease()
        with pytest.raises(TypeError, match=r"not awaited: use `async with pool\.lease\(\)"):
            await lease
        with pytest.raises(TypeError, match=r"needs `async with`"), lease:
            pass
