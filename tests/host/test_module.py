"""Compiling and linking: what is refused, and how it is said."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel
import trio.testing
from tests.host.seams import is_in_call, open_instances

from wasmpool_host import (
    Caller,
    CompileError,
    FunctionType,
    GlobalType,
    GuestMemoryError,
    GuestTrap,
    InstanceClosed,
    Limits,
    LinkError,
    MemoryType,
    Module,
    TableType,
    _capi,
    host_function,
)
from wasmpool_host._compile import source as source_module
from wasmpool_host._regular_file import read_at_most
from wasmpool_host._scheduling.blocking_calls import BlockingCalls
from wasmpool_host.lowlevel import Source

if TYPE_CHECKING:
    from tests.host.instance_of import DrivenInstanceOf


async def test_a_module_says_what_it_exports_and_imports() -> None:
    """Also types that cannot be passed, such as vectors, which the C API would abort on."""

    @host_function("env", "f", params=("i32",))
    def function(caller: object, value: int) -> None:
        del caller, value

    module = await Module.compile(
        """(module $named (import "env" "f" (func (param i32)))
        (func (export "g") (param v128 i64) (result externref) (ref.null extern))
        (memory (export "memory") 2 5) (table (export "t") 3 funcref)
        (global (export "v") v128 (v128.const i64x2 1 -1))
        (global (export "c") (mut i64) (i64.const -99999)))""",
        imports=[function],
    )
    assert module.name == "named"
    assert dict(module.imports) == {"env.f": FunctionType(("i32",), ())}
    assert dict(module.exports) == {
        "g": FunctionType(("v128", "i64"), ("externref",)),
        "memory": MemoryType(2, 5),
        "t": TableType("funcref", 3, None),
        "v": GlobalType("v128", False),  # noqa: FBT003 - immutable
        "c": GlobalType("i64", True),  # noqa: FBT003 - mutable
    }
    assert repr(module) == "<Module 'named': 5 exports, 1 imports>"


@pytest.mark.parametrize("form", ["bytes", "text", "wasm file", "wat file"])
async def test_a_source_is_bytes_text_or_a_path(form: str, tmp_path: Path) -> None:
    """All of them give the same module."""
    text = '(module (func (export "f") (result i32) (i32.const 7)))'
    binary = bytes.fromhex("0061736d01000000010501600001 7f03020100070501016600000a0601040041070b")
    source: Any = {"bytes": binary, "text": text}.get(form)
    if form == "wasm file":
        source = tmp_path / "seven.wasm"
        source.write_bytes(binary)
    elif form == "wat file":
        source = tmp_path / "seven.wat"
        source.write_text(text)
    module = await Module.compile(source)
    assert module.digest == (await Module.compile(binary)).digest
    assert module.name == ("seven" if "file" in form else module.digest[:12])
    instance = await module.instantiate()
    assert await instance.call("f") == 7
    await instance.aclose()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "is no valid WebAssembly module"),
        (b"not wasm at all", "it begins with b'not ', not b'.*asm'"),
        (b"(module)", "it begins with b'.mod', not b'.*asm'; text is given as a str, or in a file"),
        (b"\0asm\x01\0\0\0\xff", "is no valid WebAssembly module"),
        ("plugin.wasm", "give a pathlib.Path for a file"),
        ("(;\udc80;)", r"no module in the text format: .*UTF-8, as character 2 is '.udc80'"),
        ("(module (func (result i32)))", "is no valid WebAssembly module: .*type mismatch"),
        ("(module (memory 1 2 shared))", "shared memory"),
        ('(module (import "env" "memory" (memory i64 1 2 shared)))', "shared memory"),
        ("(module (memory 1) (func (atomic.fence)))", "needs threads"),
        ("(module (type $f (func)) (type (cont $f)))", "needs a feature"),
        ("(module (memory 1 (pagesize 1)))", "needs a feature"),
        ("(component)", "component"),
    ],
)
async def test_what_is_no_module_is_a_compile_error(source: Any, message: str) -> None:
    """Features that are out of scope are refused by name."""
    with pytest.raises(CompileError, match=message):
        await Module.compile(source)


@pytest.mark.parametrize("named", ["(export", "(import"])
async def test_text_that_is_no_utf_8_is_refused_and_not_replaced(named: str) -> None:
    """A name with half a surrogate pair never becomes another name."""
    text = {
        "(export": '(module (func (export "a\udc80")))',
        "(import": '(module (import "a\udc80" "b" (func)))',
    }[named]
    with pytest.raises(CompileError, match="no form in UTF-8"):
        await Module.compile(text)


async def test_a_text_file_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    """By its path, and the byte that is wrong."""
    path = tmp_path / "latin.wat"
    path.write_bytes(b'(module (func (export "gr\xfc\xdfe")))')
    with pytest.raises(CompileError, match=r"latin\.wat is no .*no UTF-8, as byte 25 is 0xfc"):
        await Module.compile(path)


async def test_names_of_a_guest_are_escaped_in_messages() -> None:
    """No name in a module can clear a terminal, or forge a line of a log."""
    with pytest.raises(LinkError) as link:
        await Module.compile('(module (import "e\\1b[2J" "f\\0a" (func)))')
    assert "  e\\x1b[2J.f\\n: () -> ()" in str(link.value)
    with pytest.raises(CompileError) as broken:
        await Module.compile('(module (func (export "\\1b[2J")) (func (export "\\1b[2J")))')
    assert "\x1b" not in str(broken.value)
    module = await Module.compile(
        '(module $"m\\1b" (func $"g\\0d\\1b" (export "f\\e2\\80\\ae") unreachable))'
    )
    instance = await module.instantiate()
    with pytest.raises(GuestTrap) as trap:
        await instance.call("f\u202e")
    assert str(trap.value).splitlines()[0].startswith("m\\x1b.f\\u202e trapped")
    assert "in g\\r\\x1b at" in str(trap.value)
    await instance.aclose()


async def test_a_missing_file_is_itself(tmp_path: Path) -> None:
    """The system's own error, with the path."""
    with pytest.raises(FileNotFoundError, match=r"none\.wasm"):
        await Module.compile(tmp_path / "none.wasm")


@pytest.mark.parametrize("kind", ["FIFO", "device", "socket"])
async def test_a_source_is_a_regular_file(tmp_path: Path, kind: str) -> None:
    """What could hold a thread for ever, or has no end, is refused by what it is."""
    path = tmp_path / "x.wasm"
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "FIFO":
            os.mkfifo(path)
        elif kind == "socket":
            listener.bind(str(path))
        else:
            path = Path("/dev/zero")
        with pytest.raises(OSError, match=f"it is a {kind}, not a regular file: .*{path.name}"):
            await Module.compile(path)


async def test_a_directory_is_no_source(tmp_path: Path) -> None:
    """As the system says it, with the path."""
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        await Module.compile(tmp_path)


async def test_a_source_that_becomes_a_fifo_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The descriptor is looked at, too, for the path may lead elsewhere once it is opened."""
    path = tmp_path / "x.wasm"
    path.write_bytes(b"")
    real = os.open

    def exchange(name: str, *args: Any, **options: Any) -> int:
        path.unlink()
        os.mkfifo(path)
        return real(name, *args, **options)

    monkeypatch.setattr(os, "open", exchange)
    with pytest.raises(OSError, match="it is a FIFO"):
        await Module.compile(path)


@pytest.mark.parametrize("grows", [False, True])
async def test_a_source_of_too_many_bytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grows: bool
) -> None:
    """By the bound, before it is read, and also where it grows meanwhile."""
    path = tmp_path / "x.wasm"
    path.write_bytes(b"")
    os.truncate(path, (256 << 20) + 1)
    if grows:
        monkeypatch.setattr(source_module, "FILE_MOST", 1 << 30)  # as if it had been smaller
        monkeypatch.setattr(source_module, "read_at_most", lambda fd, _: read_at_most(fd, 1 << 20))
    with pytest.raises(CompileError, match=r"x\.wasm has more than [\d,]+ bytes, which no module"):
        await Module.compile(path)


async def test_what_is_compiled_is_what_was_given() -> None:
    """A source and a list that are changed after the call has begun change nothing."""

    @host_function("env", "f")
    def function(_caller: Caller) -> None:
        pass

    importer = await Module.compile('(module (import "env" "f" (func)))', imports=[function])
    binary = bytearray(_capi.text_to_binary('(module (import "env" "f" (func)))'))
    imports = [function]
    made: list[Module] = []

    async def compile_() -> None:
        made.append(await Module.compile(binary, imports=imports))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(compile_)
        await trio.testing.wait_all_tasks_blocked()
        imports.clear()
        binary[:] = bytes(len(binary))
    assert made[0].digest == importer.digest
    assert made[0]._linked.imported == (function,)


async def test_compiling_waits_for_no_other_work_in_threads() -> None:
    """Threads that file systems or others hold up are not those that compile."""
    limiter = trio.to_thread.current_default_thread_limiter()
    before, limiter.total_tokens = limiter.total_tokens, 1
    holder = object()
    await limiter.acquire_on_behalf_of(holder)
    try:
        assert (await Module.compile("(module $m)")).name == "m"
    finally:
        limiter.release_on_behalf_of(holder)
        limiter.total_tokens = before


async def test_compilations_on_a_silent_disk_are_abandoned_up_to_a_cap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cancel frees each task at once. The next call fails at once, and later ones are well."""
    compiling = BlockingCalls("compilations", limit=2, max_abandoned=3)
    monkeypatch.setattr("wasmpool_host._module._COMPILING", compiling)
    read, answers = Source.read, threading.Event()
    asked: list[object] = []

    def silent(source: Any) -> Source:
        asked.append(source)
        assert answers.wait(60)
        return read(source)

    monkeypatch.setattr(Source, "read", silent)
    try:
        for number in range(1, 4):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Module.compile, "(module)")
                while len(asked) < number:
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert compiling.abandoned == number
        with pytest.raises(OSError, match="3 compilations were cancelled and still block"):
            await Module.compile("(module)")
    finally:
        answers.set()
    while compiling.abandoned:
        await trio.lowlevel.checkpoint()
    assert (await Module.compile("(module $m)")).name == "m"


async def test_a_source_of_another_kind_is_refused() -> None:
    """By what it should be."""
    with pytest.raises(TypeError, match="bytes, text as a str, or a path; not 7"):
        await Module.compile(7)  # type: ignore[arg-type]


async def test_all_missing_imports_are_listed_with_near_misses() -> None:
    """Each with its type, and what there is of a similar name or another type."""

    @host_function("env", "host_http_request", params=("i64",), results=("i64",))
    def request(caller: object, value: int) -> int:
        del caller
        return value

    @host_function("env", "log", params=("i32",))
    def log(caller: object, value: int) -> None:
        del caller, value

    with pytest.raises(LinkError) as caught:
        await Module.compile(
            """(module $m (import "env" "host_http_requests" (func (param i64) (result i64)))
            (import "env" "log" (func (param i64)))
            (import "other" "memory" (memory 1))
            (import "env" "log" (func (param i64))))""",
            imports=[request, log],
        )
    assert str(caught.value).splitlines() == [
        "module 'm' imports what nobody provides:",
        "  env.host_http_requests: (i64) -> (i64) (there is env.host_http_request)",
        "  env.log: (i64) -> () (the host function of that name is (i32) -> ())",
        "  other.memory: memory of 1 page, no maximum",
    ]


async def test_an_import_must_be_a_host_function() -> None:
    """A bare function has no name and no type."""
    with pytest.raises(TypeError, match="are made by @host_function"):
        await Module.compile("(module)", imports=[print])  # type: ignore[list-item]


@pytest.mark.parametrize("memory", ['(memory (export "memory") 2)', "(memory 2)"])
async def test_a_memory_above_the_limit_is_refused_at_once(memory: str) -> None:
    """By its size and the limit, also if it is not exported."""
    with pytest.raises(GuestMemoryError, match=r"131,072 bytes, above limits.memory=65,536"):
        await Module.compile(f"(module {memory})", limits=Limits(memory=65_536))


async def test_a_table_above_the_limit_is_refused_at_once() -> None:
    """By its size and the limit."""
    with pytest.raises(GuestMemoryError, match=r"20 elements, above limits.table_elements=10"):
        await Module.compile("(module (table 20 funcref))", limits=Limits(table_elements=10))


async def test_sixteen_tables_are_enough_and_one_more_is_refused_by_its_own_sentence() -> None:
    """The limit is fixed, and the error names it; with sixteen the module serves."""
    table = "(table 1 funcref)"
    instance = await (await Module.compile(f"(module {16 * table})")).instantiate()
    await instance.aclose()
    with pytest.raises(GuestMemoryError, match="module 'm' has 17 tables: an instance may have 16"):
        await Module.compile(f"(module $m {17 * table})")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"limits": 1}, TypeError, r"limits must be a Limits\(...\) or None, not 1"),
        ({"limits": Limits}, TypeError, r"limits must be a Limits\(...\) or None, not <class"),
        ({"wasi": True}, TypeError, r"wasi must be a Wasi\(...\) or None, not True"),
        ({"imports": 5}, TypeError, "imports must be a list of host functions, not 5"),
        (
            {"imports": [host_function("a", "b")(print), host_function("a", "b")(print)]},
            ValueError,
            r"imports has two host functions a\.b",
        ),
    ],
)
async def test_a_wrong_option_is_named_with_its_value(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Before anything is compiled."""
    with pytest.raises(error, match=message):
        await Module.compile("(module)", **options)


async def test_memory_and_table_grow_up_to_their_limits() -> None:
    """Beyond the limit the guest gets -1, as WebAssembly says."""
    module = await Module.compile(
        """(module (memory 1) (table 1 funcref)
        (func (export "memory") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "table") (param i32) (result i32)
          (table.grow (ref.null func) (local.get 0))))""",
        limits=Limits(memory=3 * 65_536, table_elements=10),
    )
    instance = await module.instantiate()
    assert await instance.call("memory", 2) == 1
    assert await instance.call("memory", 1) == -1
    assert await instance.call("table", 9) == 1
    assert await instance.call("table", 1) == -1
    await instance.aclose()


async def test_a_reactor_is_initialised() -> None:
    """`_initialize` has run, once, when there is an instance."""
    module = await Module.compile(
        """(module (global $runs (mut i32) (i32.const 0))
        (func (export "_initialize") (global.set 0 (i32.add (global.get 0) (i32.const 1))))
        (func (export "runs") (result i32) (global.get 0)))"""
    )
    instance = await module.instantiate()
    assert await instance.call("runs") == 1
    await instance.aclose()


@pytest.mark.parametrize("cancelled_in", [None, "start", "_initialize"])
async def test_a_start_that_waits_in_host_functions(cancelled_in: str | None) -> None:
    """Both of its parts may, and may be cancelled there; then nothing is left of the instance."""
    seen: list[str] = []
    at = trio.CancelScope()

    @host_function("env", "wait", params=("i32",))
    async def wait(_caller: Caller, initializing: int) -> None:
        seen.append("_initialize" if initializing else "start")
        if seen[-1] == cancelled_in:
            at.cancel()
        await trio.lowlevel.checkpoint()

    module = await Module.compile(
        """(module (import "env" "wait" (func $wait (param i32)))
        (func $begin (call $wait (i32.const 0))) (start $begin)
        (func (export "_initialize") (call $wait (i32.const 1)))
        (func (export "seven") (result i32) (i32.const 7)))""",
        imports=[wait],
    )
    before = open_instances()
    with at:
        instance = await module.instantiate()
        assert await instance.call("seven") == 7
        await instance.aclose()
    assert at.cancelled_caught == (cancelled_in is not None)
    assert seen == (["start"] if cancelled_in == "start" else ["start", "_initialize"])
    assert open_instances() == before


async def test_an_instance_is_closed_at_once_unless_it_is_in_a_call(
    driven_instance_of: DrivenInstanceOf,
) -> None:
    """During a call it refuses, and the call is unchanged."""
    instance = await driven_instance_of(
        """(module (func (export "spin") (loop $l (br $l))) (func (export "f")))"""
    )
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:

            @nursery.start_soon
            async def ask() -> None:
                while not is_in_call(instance):
                    await trio.lowlevel.checkpoint()
                assert not instance.close_now()
                assert not instance.poisoned
                scope.cancel()

            await instance.call("spin")
    assert scope.cancelled_caught
    with pytest.raises(RuntimeError, match="belongs to another thread"):
        await trio.to_thread.run_sync(instance.close_now)
    assert instance.close_now()
    with pytest.raises(InstanceClosed):
        await instance.call("f")


async def test_a_start_function_that_traps_is_a_trap() -> None:
    """And there is no instance."""
    module = await Module.compile("(module $m (func $s unreachable) (start $s))")
    with pytest.raises(GuestTrap, match="the start of module 'm' trapped"):
        await module.instantiate()


async def test_instances_are_isolated() -> None:
    """Each has its own memory and globals."""
    module = await Module.compile(
        """(module (global $g (mut i32) (i32.const 0)) (memory (export "memory") 1)
        (func (export "set") (param i32) (global.set 0 (local.get 0)))
        (func (export "get") (result i32) (global.get 0)))"""
    )
    one, two = await module.instantiate(), await module.instantiate()
    await one.call("set", 7)
    one.memory.write(0, b"one")
    assert await two.call("get") == 0
    assert two.memory.read(0, 3) == b"\0\0\0"
    await one.aclose()
    await two.aclose()


async def test_compiling_leaves_the_loop_free() -> None:
    """It runs in a thread; other tasks go on meanwhile."""
    body = "(local.set 0 (i32.mul (local.get 0) (i32.const 3)))" * 2_000
    text = f"(module {''.join(f'(func (param i32) {body})' for _ in range(20))})"
    turns = 0
    async with trio.open_nursery() as nursery:

        async def count() -> None:
            nonlocal turns
            while True:
                await trio.sleep(0.001)
                turns += 1

        nursery.start_soon(count)
        await Module.compile(text)
        nursery.cancel_scope.cancel()
    assert turns > 5


@pytest.mark.parametrize(
    ("knob", "value", "error", "message"),
    [
        ("memory", -1, ValueError, "Limits.memory must be from 0 to 1,099,511,627,776, not -1"),
        ("memory", "1", TypeError, "Limits.memory must be an int, not '1'"),
        ("call_seconds", 0, ValueError, "Limits.call_seconds must be above 0"),
        ("call_seconds", "x", TypeError, "Limits.call_seconds must be seconds or None"),
        ("payload", 2**32, ValueError, "Limits.payload must be from 0"),
        ("payload", True, TypeError, "Limits.payload must be an int, not True"),
        ("table_elements", 2**32, ValueError, "Limits.table_elements must be from 0"),
        pytest.param(
            "memory",
            10**5_000,  # of which Python refuses to make a text
            ValueError,
            "Limits.memory must be from 0 .* an int of 16,610 bits",
            id="huge",
        ),
        ("memory", 1.0, TypeError, "Limits.memory must be an int, not 1.0"),
        ("call_seconds", 10**400, ValueError, "above 0 and finite, .* an int of 1,329 bits"),
        ("call_seconds", float("nan"), ValueError, "above 0 and finite, or None; not nan"),
        ("call_seconds", float("inf"), ValueError, "above 0 and finite, or None; not inf"),
        ("call_seconds", True, TypeError, "Limits.call_seconds must be seconds or None, not True"),
    ],
)
def test_a_limit_names_its_knob_and_the_value(
    knob: str, value: object, error: type[Exception], message: str
) -> None:
    """When it is made."""
    with pytest.raises(error, match=message):
        Limits(**{knob: value})  # type: ignore[arg-type]
