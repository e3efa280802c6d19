"""Snapshots of generated modules answer as the instance that was set up, call for call.

Each example is a module with some memories, globals, tables and segments, a setup that changes
them, and calls that look at all of it, and change more. A snapshot is refused exactly where the
setup has changed a table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import pytest
import trio
from hypothesis import given, note, settings
from hypothesis import strategies as st

from wasmpool_host import GuestTrap, Module, SnapshotError

if TYPE_CHECKING:
    from wasmpool_host import Instance

Call: TypeAlias = tuple[Any, ...]
"""An export's name, and its arguments."""

PAGE = 65_536
TYPES = ("i32", "i64", "f32", "f64")
FUNCTIONS = 4


@attrs.frozen
class Shape:
    """What a module has."""

    memories: tuple[str, ...]
    """For each its address type."""
    globals: tuple[str, ...]
    """For each its type."""
    tables: tuple[tuple[str, int], ...]
    """For each its address type, and its size."""
    data: tuple[tuple[bool, bytes], ...]
    """For each segment if it is passive, and its bytes."""
    elements: tuple[tuple[int | None, int], ...]
    """For each segment the table that it is active for, or None, and its size."""
    has_start: bool

    def text(self) -> str:
        """The module."""
        parts = ["(type $f (func (result i32)))"]
        parts += [
            f"(func $f{k} (type $f) (i32.const {k}))(elem declare func $f{k})"
            for k in range(FUNCTIONS)
        ]
        for k, address in enumerate(self.memories):
            parts.append(f'(memory $m{k} {address} {k % 2 + 1} 8) (export "m{k}" (memory $m{k}))')
            parts.append(_memory_functions(k, address))
        for k, type_ in enumerate(self.globals):
            parts.append(f"""(global $g{k} (mut {type_}) ({type_}.const {k}))
              (func (export "g{k}") (result {type_}) (global.get $g{k}))
              (func (export "set_g{k}") (param {type_}) (global.set $g{k} (local.get 0)))""")
        for k, (address, size) in enumerate(self.tables):
            parts.append(f"(table $t{k} {address} {size} 20 funcref)")
            parts.append(_table_functions(k, address))
        parts += [self._data(k) for k in range(len(self.data))]
        parts += [self._elements(k) for k in range(len(self.elements))]
        if self.has_start and self.globals:
            type_ = self.globals[0]
            parts.append(f"(func $s (global.set $g0 ({type_}.const 77))) (start $s)")
            parts.append(f"""(func (export "_initialize") (global.set $g0
              ({type_}.add (global.get $g0) ({type_}.const 1))))""")
        return "(module\n" + "\n".join(parts) + ")"

    def _data(self, k: int) -> str:
        is_passive, content = self.data[k]
        quoted = "".join(f"\\{byte:02x}" for byte in content)
        if not self.memories:
            return f'(data $d{k} "{quoted}")(func (export "drop_d{k}") (data.drop $d{k}))'
        address = self.memories[0]
        where = "" if is_passive else f"({address}.const {k * 8})"
        return f"""(data $d{k} {where} "{quoted}")
          (func (export "drop_d{k}") (data.drop $d{k}))
          (func (export "init_d{k}") (param {address} i32 i32)
            (memory.init $m0 $d{k} (local.get 0) (local.get 1) (local.get 2)))"""

    def _elements(self, k: int) -> str:
        table, size = self.elements[k]
        functions = " ".join(f"$f{each % FUNCTIONS}" for each in range(k, k + size))
        parts = [f'(func (export "drop_e{k}") (elem.drop $e{k}))']
        if table is None:
            parts.append(f"(elem $e{k} func {functions})")
        else:
            address, _ = self.tables[table]
            parts.append(f"(elem $e{k} (table $t{table}) ({address}.const 0) func {functions})")
        for number, (address, _) in enumerate(self.tables):
            parts.append(f"""(func (export "init_e{k}_t{number}") (param {address} i32 i32)
              (table.init $t{number} $e{k} (local.get 0) (local.get 1) (local.get 2)))""")
        return "\n".join(parts)


def _memory_functions(k: int, address: str) -> str:
    return f"""(func (export "store_m{k}") (param {address} i64)
        (i64.store $m{k} (local.get 0) (local.get 1)))
      (func (export "load_m{k}") (param {address}) (result i64) (i64.load $m{k} (local.get 0)))
      (func (export "grow_m{k}") (param {address}) (result {address})
        (memory.grow $m{k} (local.get 0)))
      (func (export "size_m{k}") (result {address}) (memory.size $m{k}))"""


def _table_functions(k: int, address: str) -> str:
    return f"""(func (export "call_t{k}") (param {address}) (result i32)
        (if (result i32) (ref.is_null (table.get $t{k} (local.get 0))) (then (i32.const -1))
          (else (call_indirect $t{k} (type $f) (local.get 0)))))
      (func (export "null_t{k}") (param {address})
        (table.set $t{k} (local.get 0) (ref.null func)))
      (func (export "size_t{k}") (result {address}) (table.size $t{k}))
      (func (export "grow_t{k}") (param {address}) (result {address})
        (table.grow $t{k} (ref.null func) (local.get 0)))"""


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    addresses = st.sampled_from(["i32", "i64"])
    tables = draw(st.lists(st.tuples(addresses, st.integers(4, 6)), max_size=2))
    memories = draw(st.lists(addresses, max_size=3))
    segments = st.tuples(st.booleans(), st.sampled_from([b"", b"x", b"a segment"]))
    which = st.none() | st.integers(0, len(tables) - 1) if tables else st.none()
    return Shape(
        memories=tuple(memories),
        globals=tuple(draw(st.lists(st.sampled_from(TYPES), max_size=4))),
        tables=tuple(tables),
        data=tuple(draw(st.lists(segments, max_size=4))),
        elements=tuple(draw(st.lists(st.tuples(which, st.integers(0, 4)), max_size=3))),
        has_start=draw(st.booleans()),
    )


def values_of(type_: str) -> st.SearchStrategy[float]:
    """What a global of a type may be set to; a NaN would be equal to nothing."""
    if type_[0] == "i":
        bits = int(type_[1:]) - 1
        return st.integers(-(1 << bits), (1 << bits) - 1)
    return st.floats(width=32 if type_ == "f32" else 64, allow_nan=False)


def calls_of(shape: Shape) -> st.SearchStrategy[list[Call]]:
    """Some calls of what the module exports; some of them trap."""
    addresses = st.integers(0, 200) | st.integers(PAGE - 20, 3 * PAGE)
    small = st.integers(0, 6)
    kinds: list[st.SearchStrategy[Call]] = [st.just(("none",))]
    for k in range(len(shape.memories)):
        kinds.append(st.tuples(st.just(f"store_m{k}"), addresses, st.integers(0, 1 << 62)))
        kinds.append(st.tuples(st.just(f"grow_m{k}"), st.integers(0, 3)))
        kinds.append(st.tuples(st.just(f"load_m{k}"), addresses))
    for k, type_ in enumerate(shape.globals):
        kinds.append(st.tuples(st.just(f"set_g{k}"), values_of(type_)))
    for k in range(len(shape.tables)):
        kinds.append(st.tuples(st.just(f"null_t{k}"), small))
        kinds.append(st.tuples(st.just(f"grow_t{k}"), st.integers(0, 1)))
    for k in range(len(shape.data)):
        kinds.append(st.just((f"drop_d{k}",)))
        if shape.memories:
            kinds.append(st.tuples(st.just(f"init_d{k}"), addresses, small, small))
    for k in range(len(shape.elements)):
        kinds.append(st.just((f"drop_e{k}",)))
        kinds += [
            st.tuples(st.just(f"init_e{k}_t{number}"), small, small, small)
            for number in range(len(shape.tables))
        ]
    return st.lists(st.one_of(kinds), max_size=8)


def drops_of(shape: Shape) -> st.SearchStrategy[list[Call]]:
    """Calls that drop some of the segments."""
    drops = [(f"drop_d{k}",) for k in range(len(shape.data))]
    drops += [(f"drop_e{k}",) for k in range(len(shape.elements))]
    return st.lists(st.sampled_from(drops), max_size=4) if drops else st.just([])


def looks_at(shape: Shape) -> list[Call]:
    """Calls that tell the state, and do not trap."""
    found: list[Call] = [(f"g{k}",) for k in range(len(shape.globals))]
    found += [(f"size_m{k}",) for k in range(len(shape.memories))]
    return found


def copies_of(shape: Shape) -> list[Call]:
    """Calls that copy from each segment, and trap if it was dropped."""
    found: list[Call] = []
    if shape.memories:
        found += [(f"init_d{k}", 0, 0, 1) for k in range(len(shape.data))]
    if shape.tables:
        found += [(f"init_e{k}_t0", 0, 0, 1) for k in range(len(shape.elements))]
    return found


async def tables_of(shape: Shape, instance: Instance) -> list[Any]:
    """What is in the tables."""
    found: list[Any] = []
    for k in range(len(shape.tables)):
        size: Any = await instance.call(f"size_t{k}")
        found.append([await instance.call(f"call_t{k}", at) for at in range(size)])
    return found


async def state_of(shape: Shape, instance: Instance) -> list[Any]:
    """All that can be seen without a trap."""
    found: list[Any] = [await instance.call(*call) for call in looks_at(shape)]
    found += [memory.read(0, memory.size) for memory in instance.memories.values()]
    return [*found, *await tables_of(shape, instance)]


async def passing(module: Module, calls: list[Call]) -> list[Call]:
    """Those of the calls that do not trap, one after another."""
    kept: list[Call] = []
    for call in calls:
        instance = await module.instantiate()
        try:
            for earlier in kept:
                await instance.call(*earlier)
            await instance.call(*call)
            kept.append(call)
        except (GuestTrap, ValueError):  # a ValueError: there is no such export
            pass
        finally:
            await instance.aclose()
    return kept


async def answer(instance: Instance, call: Call) -> Any:
    """What a call answers; a trap is its code."""
    try:
        return await instance.call(*call)
    except GuestTrap as trap:
        return trap.code


async def check(shape: Shape, setup: list[Call], further: list[Call]) -> None:
    module = await Module.compile(shape.text())
    calls = await passing(module, setup)
    note(f"the setup calls {calls}")

    async def set_up(instance: Instance) -> None:
        for call in calls:
            await instance.call(*call)

    expected = await module.instantiate()
    tables = await tables_of(shape, expected)
    await set_up(expected)
    changed = await tables_of(shape, expected) != tables
    if changed:
        with pytest.raises(SnapshotError, match="table . was changed"):
            await module.snapshot(set_up)
        await expected.aclose()
        return
    ready = await module.snapshot(set_up)
    twice = await ready.snapshot()
    for made in (await ready.instantiate(), await twice.instantiate()):
        assert await state_of(shape, made) == await state_of(shape, expected)
        await made.aclose()
    made = await ready.instantiate()
    for call in further:
        if call[0] == "none":
            continue
        assert await answer(made, call) == await answer(expected, call), call
        if made.poisoned or expected.poisoned:
            break
    else:
        assert await state_of(shape, made) == await state_of(shape, expected)
    await made.aclose()
    await expected.aclose()
    for call in copies_of(shape):
        expected, made = await module.instantiate(), await ready.instantiate()
        await set_up(expected)
        assert await answer(made, call) == await answer(expected, call), call
        await made.aclose()
        await expected.aclose()


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_generated_modules(data: st.DataObject) -> None:
    """The state is the same byte for byte, and so is what further calls answer, traps included."""
    compare(data)


@pytest.mark.slow
@given(st.data())
@settings(deadline=None, max_examples=500)
def test_many_generated_modules(data: st.DataObject) -> None:
    """The same for more modules."""
    compare(data)


def compare(data: st.DataObject) -> None:
    """Check one module, one setup, and the calls after it."""
    shape = data.draw(shapes())
    calls = calls_of(shape)
    setup = [*data.draw(calls), *data.draw(drops_of(shape))]
    trio.run(check, shape, setup, data.draw(calls))
