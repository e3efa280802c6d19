"""What a snapshot cannot hold is refused in a sentence, and never left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.host import seams

from wasmpool_host import (
    InstanceClosed,
    Module,
    ModuleError,
    Preopen,
    SnapshotError,
    Wasi,
    host_function,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wasmpool_host import Caller, Instance, Memory

REACTOR = "tests/guests/c_reactor.wasm"


async def refused(module: Module, setup: Callable[[Instance], Any] | None = None) -> str:
    """The sentence by which a snapshot is refused; nothing is left of the instance."""
    with pytest.raises(SnapshotError) as error:
        await module.snapshot(setup)
    assert isinstance(error.value, ModuleError)
    assert str(error.value).startswith(f"{module}: ")
    assert seams.open_instances() == 0
    return str(error.value)


TABLES = """(module (type $f (func (result i32)))
  (table $t 2 10 funcref) (table $w i64 2 10 (ref null $f))
  (elem (table $t) (i32.const 0) func $one)
  (func $one (type $f) (i32.const 1)) (func $two (type $f) (i32.const 2)) (elem declare func $two)
  (func (export "set") (table.set $t (i32.const 1) (ref.func $one)))
  (func (export "other") (table.set $t (i32.const 0) (ref.func $two)))
  (func (export "clear") (table.set $t (i32.const 0) (ref.null func)))
  (func (export "grow") (drop (table.grow $t (ref.null func) (i32.const 1))))
  (func (export "wide") (table.set $w (i64.const 1) (ref.func $one)))
  (func (export "back") (table.set $t (i32.const 0) (ref.func $two))
    (table.set $t (i32.const 0) (ref.func $one))))"""


@pytest.mark.parametrize(
    ("call", "table"), [("set", 0), ("other", 0), ("clear", 0), ("grow", 0), ("wide", 1)]
)
async def test_a_table_that_was_changed(call: str, table: int) -> None:
    """By one more function, another one, one less, by growth, or where addresses are wide."""
    module = await Module.compile(TABLES)
    message = await refused(module, lambda instance: instance.call(call))
    assert f"table {table} was changed at run time" in message


async def test_a_table_that_is_as_it_was() -> None:
    """It counts what is there in the end."""
    module = await Module.compile(TABLES)
    assert await module.snapshot(lambda instance: instance.call("back"))


async def test_a_table_that_the_start_function_fills() -> None:
    """It is compared with what it was before any code ran."""
    text = """(module (table 1 funcref) (func $s (table.set (i32.const 0) (ref.func $s)))
      (elem declare func $s) (start $s))"""
    assert "table 0 was changed" in await refused(await Module.compile(text))


REFERENCES = {
    "a function in a global": (
        """(module (global $g (mut funcref) (ref.null func)) (elem declare func $f)
          (func $f (export "go") (global.set $g (ref.func $f))))""",
        "global 0 refers to another function than at the start",
    ),
    "another function in a typed global": (
        """(module (type $t (func)) (global $g (mut (ref $t)) (ref.func $one))
          (func $one (type $t)) (func $f (export "go") (type $t) (global.set $g (ref.func $f))))""",
        "global 0 refers to another function than at the start",
    ),
    "31 bits in a global": (
        """(module (global i32 (i32.const 0)) (global $g (mut i31ref) (ref.null i31))
          (func (export "go") (global.set $g (ref.i31 (i32.const 1)))))""",
        "global 1 holds a reference, of type i31ref",
    ),
    "an external reference in a global": (
        """(module (global $g (mut externref) (ref.null extern))
          (func (export "go") (global.set $g (extern.convert_any (ref.i31 (i32.const 1))))))""",
        "global 0 holds a reference, of type externref",
    ),
    "a structure in a global": (
        """(module (type $s (struct (field (mut i32))))
          (global $g (mut (ref null $s)) (ref.null $s))
          (func (export "go") (global.set $g (struct.new $s (i32.const 1)))))""",
        r"global 0 holds a reference, of type (ref null 0)",
    ),
    "a structure in a table": (
        """(module (type $s (struct)) (table 5 (ref null $s))
          (func (export "go") (table.set (i32.const 4) (struct.new $s))))""",
        r"table 0 holds a reference, of type (ref null 0)",
    ),
    "a reference in a wide table": (
        """(module (table funcref (elem)) (table $t i64 5 anyref)
          (func (export "go") (table.set $t (i64.const 2) (ref.i31 (i32.const 1)))))""",
        "table 1 holds a reference, of type anyref",
    ),
    "an exception in a global": (
        """(module (tag $t) (global $g (mut exnref) (ref.null exn))
          (func (export "go") (global.set $g (block $caught (result exnref)
            (try_table (catch_all_ref $caught) (throw $t)) (unreachable)))))""",
        "global 0 holds a reference, of type exnref",
    ),
    "a structure from the start": (
        """(module (type $s (struct (field (mut i32)))) (global $g (ref $s)
            (struct.new $s (i32.const 1)))
          (func (export "go") (struct.set $s 0 (global.get $g) (i32.const 2))))""",
        "begins with a structure or an array of the garbage collector",
    ),
    "an array among elements": (
        """(module (type $a (array (mut i32))) (elem (ref $a) (array.new_default $a (i32.const 1)))
          (func (export "go")))""",
        "begins with a structure or an array of the garbage collector",
    ),
    "an array in a table from the start": (
        """(module (type $a (array (mut i32))) (table 1 (ref $a) (array.new_fixed $a 0))
          (func (export "go")))""",
        "begins with a structure or an array of the garbage collector",
    ),
}


@pytest.mark.parametrize(("text", "why"), REFERENCES.values(), ids=REFERENCES)
async def test_a_reference(text: str, why: str) -> None:
    """The C API cannot say what it refers to, or what fields that has."""
    module = await Module.compile(text)
    assert why in await refused(module, lambda instance: instance.call("go"))


async def test_no_room_for_a_probe() -> None:
    """The elements' type is that of no table, and there may be no more tables."""
    tables = "(table 1 externref)" * 16
    module = await Module.compile(f"(module {tables} (func $f) (elem func $f))")
    assert "there is no room for one more: an instance may have 16" in await refused(module)


# --- what the host keeps of an instance -----------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("folder")
    (path / "file").write_text("text")
    (path / "inner").mkdir()
    return path


WASI = """(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "file") (data (i32.const 8) "inner")
  (data (i32.const 16) "\\80\\00\\00\\00\\01\\00\\00\\00")
  (func (export "open_file") (result i32) (call $open (i32.const 3) (i32.const 0) (i32.const 0)
    (i32.const 4) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 100)))
  (func (export "open_folder") (result i32) (call $open (i32.const 3) (i32.const 0) (i32.const 8)
    (i32.const 5) (i32.const 2) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 100)))
  (func (export "close") (param i32) (result i32) (call $close (local.get 0)))
  (func (export "renumber") (param i32 i32) (result i32)
    (call $renumber (local.get 0) (local.get 1)))
  (func (export "read") (result i32)
    (call $read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24)))
  (func (export "write") (result i32)
    (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24))))"""


LEFT: dict[str, tuple[list[tuple[Any, ...]], str]] = {
    "a file": ([("open_file",)], "a file is open as descriptor 4"),
    "a directory": ([("open_folder",)], "a directory is open as descriptor 4"),
    "a file in place of a preopened directory": (
        [("open_file",), ("renumber", 4, 3)],
        "a file is open as descriptor 3",
    ),
    "a directory in place of a preopened one": (
        [("open_folder",), ("renumber", 4, 3)],
        "a directory is open as descriptor 3",
    ),
    "standard output closed": ([("close", 1)], "descriptor 1 is closed"),
    "the preopened directory closed": ([("close", 3)], "descriptor 3 is closed"),
    "standard input read": ([("read",)], "standard input was read"),
}


@pytest.mark.parametrize(("calls", "why"), LEFT.values(), ids=LEFT)
async def test_descriptors_that_a_new_instance_would_not_have(
    folder: Path, calls: list[tuple[Any, ...]], why: str
) -> None:
    """Open files, streams that are closed or moved, and input that is gone."""
    wasi = Wasi(preopens={"/": Preopen(folder)}, stdin=b"input")
    module = await Module.compile(WASI, wasi=wasi)

    async def setup(instance: Instance) -> None:
        for name, *args in calls:
            assert await instance.call(name, *args) == 0

    assert f"after its setup, {why}" in await refused(module, setup)


async def test_descriptors_that_are_as_they_were(folder: Path) -> None:
    """A file that was opened and closed, an empty input that was read, and what was printed."""
    module = await Module.compile(WASI, wasi=Wasi(preopens={"/": Preopen(folder)}, stdout=None))

    async def setup(instance: Instance) -> None:
        for name, *args in [("open_file",), ("close", 4), ("read",), ("write",), ("write",)]:
            assert await instance.call(name, *args) == 0  # type: ignore[arg-type]  # of ints

    ready = await module.snapshot(setup)
    instance = await ready.instantiate()
    assert await instance.call("open_file") == 0
    await instance.aclose()


async def test_state_of_a_host_function() -> None:
    """The instances of the snapshot would not have it, as it belongs to the one."""

    @host_function("env", "keep")
    def keep(caller: Caller) -> None:
        caller.state["handle"] = 1

    text = '(module (import "env" "keep" (func $keep)) (func (export "go") (call $keep)))'
    module = await Module.compile(text, imports=[keep])
    assert await module.snapshot()
    message = await refused(module, lambda instance: instance.call("go"))
    assert "a host function keeps state of the instance (caller.state)" in message


async def test_a_call_that_is_under_way(nursery: trio.Nursery) -> None:
    """The setup has begun it in a task of another nursery, and not waited for it."""
    entered = trio.Event()

    @host_function("env", "wait")
    async def wait(_caller: Caller) -> None:
        entered.set()
        await trio.sleep_forever()

    text = '(module (import "env" "wait" (func $wait)) (func (export "go") (call $wait)))'
    module = await Module.compile(text, imports=[wait])
    ended: list[str] = []

    async def call(instance: Instance) -> None:
        try:
            await instance.call("go")
        except Exception as error:  # noqa: BLE001 - its class is what is looked at
            ended.append(type(error).__name__)

    async def setup(instance: Instance) -> None:
        nursery.start_soon(call, instance)
        await entered.wait()

    assert "a call is under way when its setup has ended" in await refused(module, setup)
    await trio.testing.wait_all_tasks_blocked()
    assert ended == ["InstanceClosed"]


async def test_a_task_that_the_setup_has_left(nursery: trio.Nursery) -> None:
    """It cannot change what is being read: to it, the instance is closed at once."""
    text = """(module (memory (export "memory") 100) (func (export "fill")
      (memory.fill (i32.const 0) (i32.const 1) (i32.const 6553600))))"""
    refusals: list[str] = []

    async def disturb(instance: Instance, memory: Memory) -> None:
        while len(refusals) < 2:
            await trio.lowlevel.checkpoint()
            try:
                memory.write(0, b"x" * memory.size)
                await instance.call("fill")
            except InstanceClosed as closed:
                refusals.append(str(closed))

    async def setup(instance: Instance) -> None:
        nursery.start_soon(disturb, instance, instance.memory)

    ready = await (await Module.compile(text)).snapshot(setup)
    instance = await ready.instantiate()
    memory = instance.memory.read(0, instance.memory.size)
    assert memory in {bytes(len(memory)), b"x" * len(memory), b"\1" * len(memory)}
    await instance.aclose()


async def test_an_instance_that_may_not_serve() -> None:
    """A setup that hides a trap, or closes the instance, is told to raise the error."""
    module = await Module.compile('(module (func (export "go") unreachable))')

    async def hides(instance: Instance) -> None:
        with pytest.raises(Exception, match="unreachable"):
            await instance.call("go")

    message = await refused(module, hides)
    assert "its setup has left the instance poisoned (trap): have it raise" in message
    assert "left the instance closed" in await refused(module, lambda each: each.aclose())


async def test_a_program_that_has_run() -> None:
    """It ends its instance, whose memory is of no use any more."""
    module = await Module.compile('(module (memory (export "memory") 1) (func (export "_start")))')
    assert "poisoned (finished)" in await refused(module, lambda instance: instance.run())
    ready = await module.snapshot(lambda instance: instance.memory.write(0, b"x"))
    instance = await ready.instantiate()
    assert (await instance.run()).returncode == 0
    await instance.aclose()


async def test_more_segments_than_there_may_be() -> None:
    """A module with as many as there may be has no room for one of its memory."""
    data = '(data "")' * 100_000
    text = f"""(module (memory (export "memory") 1) {data}
      (func (export "go") (data.drop 0) (i32.store (i32.const 0) (i32.const 1))))"""
    module = await Module.compile(text)
    assert await module.snapshot()
    message = await refused(module, lambda instance: instance.call("go"))
    assert "its 100,000 segments of data leave no room for those of its memory" in message
