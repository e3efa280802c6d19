"""What `inspect_plugin` sees, and what its report says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wasmpool._plugin.inspect import inspect_plugin
from wasmpool_host import CompileError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def test_a_plugin(each_plugin: Path, cache: Path) -> None:
    """It meets the contract; imports, exports, memory, metadata and tools are told."""
    seen = await inspect_plugin(each_plugin, cache=cache)
    assert seen.meets_contract
    assert seen.description is not None
    assert all(provided for _, _, provided in seen.imports)
    text = str(seen)
    for part in ("Imports", "Exports", "Memory: starts with", "Metadata", "Tools"):
        assert part in text
    assert "(i64) -> (i64)  (contract)" in text
    assert text.count("  provided") == len(seen.imports)
    assert seen.description.metadata.version in text
    assert all(tool.name in text for tool in seen.description.tools)
    assert text.endswith("Contract: a plugin of ABI version 1")


async def test_a_module_that_is_no_plugin() -> None:
    """Imports, exports, and which exports are missing."""
    seen = await inspect_plugin('(module (memory 1) (func (export "add") (param i32 i32)))')
    assert not seen.meets_contract
    assert str(seen).splitlines()[:4] == ["Imports: none", "", "Exports", "  add  (i32, i32) -> ()"]
    assert "Memory" not in str(seen)
    assert "  execute (i64) -> (i64) is missing" in str(seen)


async def test_imports_that_this_host_has_not(wat: Callable[..., str]) -> None:
    """They are marked, also where everything else is as it should be."""
    text = wat().replace("(module", '(module (import "env" "other" (func (param f64)))', 1)
    seen = await inspect_plugin(text)
    assert "  env.other  (f64) -> ()  NOT PROVIDED by this host" in str(seen)
    assert "Metadata" not in str(seen)
    assert not seen.meets_contract
    assert str(seen).count("env.other") == 2
    assert str(seen).count("this host can run") == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"without": "tools"}, "tools () -> (i64) is missing"),
        ({"without": "malloc"}, "malloc (i32) -> (i32) is missing (guest_malloc would do)"),
        ({"abi": "2"}, "ABI version 2 of the plugin is not supported: this host has 1"),
        ({"start": "(start $trap)"}, "it fails when it is started and asked to describe itself: "),
    ],
)
async def test_a_plugin_with_a_flaw(
    wat: Callable[..., str], change: dict[str, str], problem: str
) -> None:
    """The report says which, and shows what can be seen."""
    seen = await inspect_plugin(wat(**change))
    assert len(seen.problems) == 1
    assert seen.problems[0].startswith(problem)
    assert "Memory: starts with" in str(seen)


async def test_no_module(tmp_path: Path) -> None:
    """There is nothing to see."""
    with pytest.raises(CompileError):
        await inspect_plugin(b"no wasm")
    with pytest.raises(FileNotFoundError):
        await inspect_plugin(tmp_path / "missing.wasm")


async def test_a_guest_has_no_power_over_the_terminal(wat: Callable[..., str]) -> None:
    """Control characters in what it says of itself are not passed on."""
    seen = await inspect_plugin(wat(tool="\\\\u001bc"))
    assert "\x1b" not in str(seen)
    assert "\ufffdc" in str(seen)
