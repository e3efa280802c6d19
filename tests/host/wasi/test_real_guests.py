"""The functions with real wasm: the C library, the Go runtime, and hostile guests."""

# ruff: noqa: PTH208  # what the system does is said in its own words

from __future__ import annotations

import gc
import json
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from wasmpool_host import (
    GuestExit,
    GuestTrap,
    Instance,
    Limits,
    Module,
    Preopen,
    Wasi,
    host_function,
)
from wasmpool_host._wasi.errno import Errno
from wasmpool_host._wasi.preview1 import FUNCTIONS, MODULE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    InstanceOf = Callable[..., Awaitable[Instance]]

GUESTS = Path(__file__).parents[2] / "guests"
C_GUEST = GUESTS / "c_reactor.wasm"
GO_GUEST = GUESTS / "go_plugin.wasm"


async def ask(instance: Instance, export: str, *values: str | int) -> tuple[int, str]:
    """A text export of the C guest: minus the errno or a count, and the text."""
    payload = "\n".join(map(str, values)).encode() if values else None
    reply = await instance.exchange(export, payload)
    number, _, data = reply.partition(b"\n")
    return int(number), data.decode()


@pytest.fixture
async def c_guest(instance_of: InstanceOf, root: Path) -> Instance:
    """With `root` at ``/data``, writable, and ``root/dir`` at ``/ro``, read-only."""
    return await instance_of(
        C_GUEST,
        wasi=Wasi(
            args=["prog", "größe"],
            env={"A": "1", "B": "x=y"},
            stdin=b"line one\nthe rest\n",
            preopens={"/data": Preopen(root, writable=True), "/ro": root / "dir"},
        ),
    )


async def test_c_sees_nothing_by_default(instance_of: InstanceOf) -> None:
    """No arguments, no environment, no input, no files."""
    guest = await instance_of(C_GUEST)
    assert await guest.call("argc") == 0
    assert await ask(guest, "environment") == (0, "")
    assert await ask(guest, "preopens") == (0, "")
    assert await ask(guest, "read_stdin") == (0, "")
    assert (await ask(guest, "read_file", "/etc/passwd"))[0] in (-Errno.NOENT, -Errno.NOTCAPABLE)
    assert guest.poisoned is None


async def test_c_sees_what_it_is_given(c_guest: Instance) -> None:
    """Arguments, environment, input and the preopened directories."""
    assert await ask(c_guest, "arguments") == (2, "prog\ngröße\n")
    assert await ask(c_guest, "environment") == (2, "A=1\nB=x=y\n")
    assert await ask(c_guest, "env", "B") == (0, "x=y")
    assert await ask(c_guest, "preopens") == (2, "/data\n/ro\n")
    assert (await ask(c_guest, "read_line"))[1] == "line one\n"
    assert await ask(c_guest, "read_stdin") == (9, "the rest\n")


async def test_c_works_with_files(c_guest: Instance, root: Path) -> None:
    """Create, write, read, truncate, list, rename, link and remove, through the C library."""
    assert await ask(c_guest, "read_file", "/data/dir/nested") == (6, "nested")
    assert await ask(c_guest, "read_at", "/data/file", 7) == (3, "789")
    assert await ask(c_guest, "write_file", "/data/new", "hello") == (5, "")
    assert await ask(c_guest, "append_file", "/data/new", " world") == (6, "")
    assert (root / "new").read_text() == "hello world"
    assert (await ask(c_guest, "create_file", "/data/new", "x"))[0] == -Errno.EXIST
    assert (await ask(c_guest, "cut_file", "/data/new", 4))[0] == 0
    assert (await ask(c_guest, "sync_file", "/data/new"))[0] == 0
    assert (await ask(c_guest, "make_dir", "/data/made"))[0] == 0
    assert (await ask(c_guest, "rename_path", "/data/new", "/data/made/moved"))[0] == 0
    assert (await ask(c_guest, "link_path", "/data/made/moved", "/data/again"))[0] == 0
    assert (await ask(c_guest, "symlink_path", "made/moved", "/data/soft"))[0] == 0
    assert (await ask(c_guest, "read_link", "/data/soft"))[1] == "made/moved"
    assert await ask(c_guest, "read_file", "/data/soft") == (4, "hell")
    assert (await ask(c_guest, "list_dir", "/data"))[1] == "again\ndir/\nfile\nmade/\nsoft@\n"
    assert (await ask(c_guest, "touch", "/data/again", 1234))[0] == 0
    assert (await ask(c_guest, "stat_path", "/data/again"))[1] == "file 4 1234"
    assert (await ask(c_guest, "remove_file", "/data/made/moved"))[0] == 0
    assert (await ask(c_guest, "remove_dir", "/data/made"))[0] == 0
    assert sorted(os.listdir(root)) == ["again", "dir", "file", "soft"]


async def test_c_lists_a_long_directory(c_guest: Instance, root: Path) -> None:
    """Through the C library's buffer, which is filled many times."""
    for number in range(500):
        (root / "dir" / f"{number:0100}").touch()
    count, names = await ask(c_guest, "list_dir", "/ro")
    assert count == 501
    assert names.count("\n") == 501


async def test_c_learns_of_read_only_when_it_opens(c_guest: Instance, root: Path) -> None:
    """At the open, not at the first write."""
    assert await ask(c_guest, "read_file", "/ro/nested") == (6, "nested")
    for export in ("write_file", "append_file", "create_file"):
        assert (await ask(c_guest, export, "/ro/nested", "x"))[0] == -Errno.ROFS
    assert (await ask(c_guest, "rename_path", "/data/file", "/ro/file"))[0] == -Errno.ROFS
    assert (await ask(c_guest, "link_path", "/ro/nested", "/data/nested"))[0] == -Errno.ROFS
    assert (root / "dir" / "nested").read_text() == "nested"


@pytest.mark.parametrize("path", ["/data/../secret", "/data/out", "/data/../../etc/passwd"])
async def test_c_does_not_get_out(c_guest: Instance, root: Path, path: str) -> None:
    """With no path that the C library passes on."""
    (root / "out").symlink_to("../secret")
    number, text = await ask(c_guest, "read_file", path)
    assert number in (-Errno.NOTCAPABLE, -Errno.NOENT)
    assert "secret" not in text
    assert (await ask(c_guest, "write_file", path, "x"))[0] in (-Errno.NOTCAPABLE, -Errno.NOENT)


async def test_c_prints_lines_to_the_log(
    instance_of: InstanceOf, caplog: pytest.LogCaptureFixture
) -> None:
    """Each line when it ends, without waiting for an exit; the rest when the instance closes."""
    caplog.set_level(logging.INFO)
    guest = await instance_of(C_GUEST)
    await ask(guest, "hold_back", "one\ntwo")
    assert [record.getMessage() for record in caplog.records if "guest" in record.name] == ["one"]
    await ask(guest, "say", "")
    await ask(guest, "complain", "help")
    await guest.aclose()
    assert caplog.record_tuples[1:] == [
        ("wasmpool.guest.stdout", logging.INFO, "two"),
        ("wasmpool.guest.stderr", logging.WARNING, "help"),
    ]


async def test_c_prints_more_than_one_write_takes(instance_of: InstanceOf) -> None:
    """The C library continues after a short write."""
    lines = "".join(f"{number}\n" for number in range(5000))
    handler = logging.Handler()
    seen: list[str] = []
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("wasmpool.guest.stderr")
    logger.addHandler(handler)
    try:
        guest = await instance_of(C_GUEST)
        assert (await ask(guest, "complain", lines))[0] == len(lines)
    finally:
        logger.removeHandler(handler)
    assert seen == lines.split()


@pytest.mark.parametrize("status", [0, 3, 255])
async def test_c_exits(instance_of: InstanceOf, status: int) -> None:
    """With its status; its incomplete output is logged, and the instance is not used again."""
    out = bytearray()
    guest = await instance_of(C_GUEST, wasi=Wasi(stdout=out.extend))
    await ask(guest, "hold_back", "last")
    with pytest.raises(GuestExit) as caught:
        await guest.call("leave", status)
    assert caught.value.status == status
    assert guest.poisoned == "exit"
    assert out == b"last"


async def test_c_aborts(instance_of: InstanceOf) -> None:
    """That is a trap."""
    guest = await instance_of(C_GUEST)
    with pytest.raises(GuestTrap):
        await guest.call("give_up")


async def test_c_knows_the_time_and_chance(c_guest: Instance) -> None:
    """Both clocks, their resolution, and random numbers."""
    before = time.time_ns()
    now = await c_guest.call("clock", 0)
    assert isinstance(now, int)
    assert before <= now <= time.time_ns()
    assert await c_guest.call("resolution", 1) == 1
    assert await c_guest.call("yield") == 0
    assert await c_guest.call("random64") != await c_guest.call("random64")
    assert await c_guest.call("wait_input", 1000) == 1


async def test_c_sleeps_as_trio_does(
    instance_of: InstanceOf, autojump_clock: trio.testing.MockClock
) -> None:
    """A hundred guests that sleep 50 ms at the same time take 50 ms, and not five seconds.

    One that a busy machine has sent to a thread may find that this clock has jumped meanwhile.
    """
    module = await Module.compile(C_GUEST)
    guests = [await instance_of(module) for _ in range(100)]
    began = trio.current_time()
    naps: list[Any] = []

    async def nap(guest: Instance) -> None:
        naps.append(await guest.call("nap", 50))

    async with trio.open_nursery() as nursery:
        for guest in guests:
            nursery.start_soon(nap, guest)
    assert 0.05 <= round(trio.current_time() - began, 6) < 0.5
    assert len(naps) == 100
    assert min(naps) == pytest.approx(50e6)


async def test_a_sleeping_guest_is_cancelled(
    instance_of: InstanceOf, autojump_clock: trio.testing.MockClock
) -> None:
    """In its sleep."""
    guest = await instance_of(C_GUEST)
    with trio.move_on_after(1) as scope:
        await guest.call("nap", 10_000_000)
    assert scope.cancelled_caught
    assert guest.poisoned == "cancelled"


async def test_closing_an_instance_closes_its_files(instance_of: InstanceOf, root: Path) -> None:
    """However many they are, also those that the guest did not close."""
    module = await Module.compile(C_GUEST, wasi=Wasi(preopens={"/": Preopen(root)}))
    first = await instance_of(module)
    await ask(first, "read_file", "/file")
    await first.aclose()
    gc.collect()  # modules of earlier tests, which hold their memory's image open
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        guest = await module.instantiate()
        assert await ask(guest, "read_file", "/file") == (10, "0123456789")
        await guest.aclose()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


@host_function("env", "host_http_request", params=("i64",), results=("i64",))
def no_http(_caller: object, _request: int) -> int:
    raise NotImplementedError


@host_function("env", "host_log", params=("i32", "i32"))
def no_log(_caller: object, _ptr: int, _size: int) -> None:
    pass


async def test_go_runs(instance_of: InstanceOf, cache: Path) -> None:
    """Its runtime starts, and computes in the goroutine of the call."""
    guest = await instance_of(GO_GUEST, imports=[no_http, no_log], cache=cache)
    reply = await guest.exchange(
        "execute", b'{"tool_name": "word_count", "args": {"text": "one two\\nthree"}}'
    )
    assert json.loads(json.loads(reply)["data"]) == {"lines": 2, "words": 3, "characters": 13}
    assert guest.poisoned is None


async def test_go_sleeps_as_trio_does(
    instance_of: InstanceOf, cache: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Three guests whose runtimes wait for a timer, together no longer than one."""
    module = await Module.compile(GO_GUEST, imports=[no_http, no_log], cache=cache)
    guests = [await instance_of(module) for _ in range(3)]
    took = []
    for _ in range(5):
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for guest in guests:
                nursery.start_soon(
                    guest.exchange, "execute", b'{"tool_name": "nap", "args": {"ms": 50}}'
                )
        took.append(trio.current_time() - began)
    assert 0.049 < min(took) < 0.06  # the least: a busy machine sends some to a thread, late


def hostile(memory: str = '(memory (export "memory") 1)') -> str:
    """A guest that passes its arguments to every function of WASI."""
    imports, exports = [], []
    for name, signature in FUNCTIONS.items():
        params, results = signature.params, signature.results
        types = "".join(f" (param {kind})" for kind in params)
        answer = "".join(f" (result {kind})" for kind in results)
        gets = " ".join(f"(local.get {index})" for index in range(len(params)))
        imports.append(f'(import "{MODULE}" "{name}" (func ${name}{types}{answer}))')
        exports.append(f'(func (export "{name}"){types}{answer} (call ${name} {gets}))')
    return f"(module {' '.join(imports)} {memory} {' '.join(exports)})"


async def test_every_function_takes_wild_values_from_wasm(
    instance_of: InstanceOf, root: Path
) -> None:
    """Each time an error number or an exit; the guest continues."""
    guest = await instance_of(
        hostile(), wasi=Wasi(preopens={"/": Preopen(root, writable=True)}, stdout=None, stderr=None)
    )
    for name, signature in FUNCTIONS.items():
        params = signature.params
        if name == "proc_exit":
            continue
        for value in (-1, -(2**31), 2**31 - 1, 65_533, 65_536, 0, 3):
            with trio.move_on_after(60):
                answer = await guest.call(name, *[value] * len(params))
                assert Errno(answer) is not None  # type: ignore[arg-type]
            if guest.poisoned == "cancelled":
                pytest.fail(f"{name}({value}) never ended")
    assert guest.poisoned is None
    with pytest.raises(GuestExit):
        await guest.call("proc_exit", -1)
    assert sorted(os.listdir(root.parent)) == ["root", "secret"]


async def test_a_guest_without_memory_goes_on(instance_of: InstanceOf) -> None:
    """Without a memory each pointer is invalid."""
    guest = await instance_of(hostile(memory=""), wasi=Wasi(stdout=None))
    assert await guest.call("fd_write", 1, 0, 0, 0) == Errno.FAULT
    assert await guest.call("clock_time_get", 1, 0, 0) == Errno.FAULT
    assert await guest.call("random_get", 0, 1) == Errno.FAULT
    assert guest.poisoned is None


async def test_a_million_buffers_cost_nothing(instance_of: InstanceOf) -> None:
    """In a memory that holds them all; the result comes before they could be read."""
    guest = await instance_of(hostile('(memory (export "memory") 200)'), wasi=Wasi(stdout=None))
    assert await guest.call("fd_write", 1, 0, 1_000_000, 12_000_000) == Errno.INVAL
    assert await guest.call("poll_oneoff", 0, 0, 200_000, 12_000_000) == Errno.INVAL


async def test_a_large_memory_is_reached_above_2_gib(instance_of: InstanceOf) -> None:
    """Pointers are unsigned, though they come as signed numbers."""
    wat = hostile('(memory (export "memory") 32769)')
    guest = await instance_of(wat, limits=Limits(memory=3 * 2**30))
    ptr = 2**31 + 16
    assert await guest.call("clock_res_get", 0, ptr - 2**32) == Errno.SUCCESS
    assert guest.memory.read(ptr, 8) == (1).to_bytes(8, "little")
