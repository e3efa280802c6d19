"""What is said where a pool is not used as it should be."""

from __future__ import annotations

from typing import Any

import pytest

from wasmpool import Module, open_pool


async def test_a_module_that_was_not_awaited_is_named() -> None:
    """The commonest mistake: at once, and with what to do."""
    with pytest.raises(TypeError, match=r"not a coroutine: `await Module.compile"):
        open_pool(Module.compile("(module)"))  # type: ignore[arg-type]


@pytest.mark.parametrize("module", ["plugin.wasm", b"\0asm", None, 5])
async def test_what_is_no_module_is_refused_at_once(module: Any) -> None:
    """By `open_pool`, before the block, and by `reload`, before anything starts."""
    with pytest.raises(TypeError, match="a pool takes a compiled module, not"):
        open_pool(module)
    async with open_pool(await Module.compile("(module)")) as pool:
        with pytest.raises(TypeError, match="a pool takes a compiled module, not"):
            await pool.reload(module)
        assert pool.statistics().started == 1


async def test_a_setup_that_is_no_function_is_refused_at_once() -> None:
    """By `open_pool` and by `reload`."""
    module = await Module.compile("(module)")
    with pytest.raises(TypeError, match="setup must be a function of an instance or None, not 5"):
        open_pool(module, setup=5)  # type: ignore[arg-type]
    async with open_pool(module) as pool:
        with pytest.raises(TypeError, match="setup must be a function of an instance or None"):
            await pool.reload(module, setup="x")  # type: ignore[arg-type]
