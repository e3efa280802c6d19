"""The size of a guest's memory, whether it exports that or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import wasmtime

from wasmpool_host import CompileError, GuestTrap, Module, _capi, host_function
from wasmpool_host._compile import binary as binary_module
from wasmpool_host._compile.compiler import SUBPROCESS_THRESHOLD
from wasmpool_host._types import PAGE, MemoryType

if TYPE_CHECKING:
    from pathlib import Path

    from tests.host.instance_of import DrivenInstanceOf

    from wasmpool_host import Caller

GROW = '(func (export "grow") (result i32) (memory.grow (i32.const 2)))'
TRAP = '(func (export "trap") (unreachable))'
# Where Wasmtime says that an `unreachable` at once is depends on whether a tick came before it.
LOAD = '(func (export "trap") (drop (i32.load (i32.const -4))))'

MEMORIES = {
    "memory": '(memory (export "memory") 1)',
    "another name": '(memory (export "mem") 1)',
    "a name that is no word": '(memory (export "\\f0\\9f\\90\\98 \\00") 1)',
    "an empty name": '(memory (export "") 1)',
    "two names": '(memory (export "a") (export "memory") 1)',
    "a name beside a function called memory": '(memory (export "m") 1) (func (export "memory"))',
    "none": "(memory 1)",
    "none, beside a function called memory": '(memory 1) (func (export "memory"))',
    "none, and its own is taken": '(memory 1) (func (export "wasmpool:memory"))',
    "none, with elements and data": (
        '(memory 1) (table 1 funcref) (elem (i32.const 0) 0) (data (i32.const 8) "data")'
    ),
    "none, and it grows as it starts": (
        "(memory 0) (func $start (drop (memory.grow (i32.const 1)))) (start $start)"
    ),
}


@pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES)
async def test_memory_is_counted_by_whatever_name(
    driven_instance_of: DrivenInstanceOf, memory: str
) -> None:
    """Also without one; what the module exports is what its source exports."""
    source = f"(module {memory} {GROW})"
    module = await Module.compile(source)
    instance = await driven_instance_of(module)
    assert instance.memory_size == PAGE
    assert await instance.call("grow") == 1
    assert instance.memory_size == 3 * PAGE
    assert instance.memory.size == (3 * PAGE if '"memory") 1)' in memory else 0)
    await instance.aclose()
    binary = bytes(wasmtime.wat2wasm(source))
    assert dict(module.exports) == binary_module.outline(binary).exports
    assert module.digest == (await Module.compile(binary)).digest


async def test_guest_without_memory_has_none(driven_instance_of: DrivenInstanceOf) -> None:
    """Nothing is exported in its place."""
    instance = await driven_instance_of(f"(module {TRAP})")
    assert instance.memory_size == 0
    await instance.aclose()


@pytest.mark.parametrize("size", [0, 2 * SUBPROCESS_THRESHOLD])
async def test_memory_that_is_not_exported_is_counted_after_any_way_to_compile(
    driven_instance_of: DrivenInstanceOf, tmp_path: Path, size: int
) -> None:
    """Here, in another process as instances serve, and from the cache."""
    text = f'(module (memory 1) (data (i32.const 0) "{"x" * size}") {GROW})'
    serving = await (await Module.compile("(module)")).instantiate()
    for cache in (None, tmp_path, tmp_path):
        instance = await driven_instance_of(text, cache=cache)
        assert await instance.call("grow") == 1
        assert instance.memory_size == 3 * PAGE
        await instance.aclose()
    assert len(list(tmp_path.iterdir())) == 1
    await serving.aclose()


async def test_cache_of_the_source_as_it_is_is_not_taken_for_what_is_compiled(
    tmp_path: Path,
) -> None:
    """One that an earlier version wrote exports nothing to count by."""
    text = f"(module (memory 1) {GROW})"
    module = await Module.compile(text, cache=tmp_path)
    (entry,) = tmp_path.iterdir()
    assert not entry.name.startswith(module.digest)


async def test_frames_have_the_offsets_of_the_source() -> None:
    """In an outermost and in a nested call, though the compiled module is longer."""
    text = f"""(module
        (import "env" "host" (func $host)) (memory 1) {LOAD}
        (func (export "nested") call $host))"""
    offsets: list[int] = []

    @host_function("env", "host")
    async def host(caller: Caller) -> None:
        with pytest.raises(GuestTrap) as info:
            await caller.call("trap")
        offsets.append(info.value.frames[0].offset)

    module = await Module.compile(text, imports=[host])
    instance = await module.instantiate()
    await instance.call("nested")
    await instance.aclose()
    instance = await module.instantiate()
    with pytest.raises(GuestTrap) as info:
        await instance.call("trap")
    offsets.append(info.value.frames[0].offset)
    await instance.aclose()
    assert offsets == [offset_by_wasmtime(text)] * 2


def offset_by_wasmtime(text: str) -> int:
    engine = _capi.new_engine()  # which looks at the epoch where a function begins
    store = wasmtime.Store(engine)
    store.set_epoch_deadline(1)
    linker = wasmtime.Linker(engine)
    linker.define_func("env", "host", wasmtime.FuncType([], []), lambda: None)
    trap = linker.instantiate(store, wasmtime.Module(engine, text)).exports(store)["trap"]
    assert isinstance(trap, wasmtime.Func)
    with pytest.raises(wasmtime.Trap) as info:
        trap(store)
    offset = info.value.frames[0].module_offset
    assert offset
    return offset


@pytest.mark.parametrize("memory", [each for each in MEMORIES.values() if "(memory 1)" in each])
def test_memory_is_exported_beside_what_is_exported(memory: str) -> None:
    """The module stays valid, with sections in their order, custom ones among them."""
    binary = bytes(wasmtime.wat2wasm(f"(module $named {memory} {GROW})"))
    binary = binary[:8] + b"\x00\x02\x01c" + binary[8:] + b"\x00\x02\x01d"
    longer = binary_module.with_memories_exported(binary, {0: "m" * 200})
    wasmtime.Module.validate(wasmtime.Engine(), longer)
    before, after = binary_module.outline(binary), binary_module.outline(longer)
    assert after.exports == {**before.exports, "m" * 200: MemoryType(1, None)}
    assert after.name == before.name == "named"


@pytest.mark.parametrize(
    "damage", [*range(4, 60, 3), b"\x05" + b"\xff" * 200_000, b"\x07\x05\xff\xff\xff\xff\x0f"]
)
async def test_damaged_module_is_a_compile_error(damage: int | bytes) -> None:
    """Cut anywhere, or with a number that never ends: reading it takes no time."""
    binary = bytes(wasmtime.wat2wasm(f"(module (memory 1) {GROW} {TRAP})"))
    damaged = binary[:damage] if isinstance(damage, int) else binary[:8] + damage
    with pytest.raises(CompileError, match="is no valid WebAssembly module"):
        await Module.compile(damaged)
