"""A component that is a program: it runs in a world of its own, as a module does."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from tests.host.wasi.test_offload import descriptors_of

from wasmpool import (
    CallTimeout,
    Completed,
    Component,
    GuestExit,
    GuestMemoryError,
    GuestTrap,
    Limits,
    LinkError,
    Preopen,
    Wasi,
    host_function,
    open_pool,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

    from wasmpool import Pool

PROGRAM = Path(__file__).parents[1] / "guests" / "component_program.wasm"
HOUR = str(3600 * 10**9)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
async def component(directory: Path) -> Component:
    return await Component.compile(PROGRAM, cache=directory)


@pytest.fixture
async def pool(component: Component) -> AsyncGenerator[Pool, None]:
    async with open_pool(component, size=4) as pool:
        yield pool


async def run(pool: Pool, *words: str, **options: Any) -> Completed:
    return await pool.run(["program", *words], **options)


# --- its world ---


async def test_it_returns_what_it_wrote(pool: Pool, component: Component) -> None:
    """With its name alone where it is given no arguments."""
    assert component.is_program
    done = await pool.run()
    assert done == Completed(args=("component_program",), returncode=0, stdout=b"hello\n")


async def test_its_arguments_and_its_environment(pool: Pool) -> None:
    """As they were given, and nothing of this process."""
    done = await run(pool, "args", "one", "two words", "ä")
    assert done.stdout.decode() == "program\nargs\none\ntwo words\nä\n"
    assert (await run(pool, "env")).stdout == b""
    assert (await run(pool, "env", env={"B": "x=y", "A": ""})).stdout == b"B=x=y\nA=\n"


async def test_its_input_and_its_output(pool: Pool) -> None:
    """Bytes in, bytes out; standard error is apart."""
    data = os.urandom(100_000)
    assert (await run(pool, "cat", stdin=data)).stdout == data
    done = await run(pool, "warn", "careful")
    assert (done.stdout, done.stderr) == (b"", b"careful")
    done = await run(pool, "cat", stdin=data, capture_limit=10)
    assert (done.stdout, set(done.truncated)) == (data[:10], {"stdout"})


async def test_streams_of_the_caller(pool: Pool) -> None:
    """The program waits for its input, and for the reader of its output."""
    sender, stdin = trio.testing.memory_stream_one_way_pair()
    stdout, receiver = trio.testing.lockstep_stream_one_way_pair()
    found: list[Completed] = []

    async def cat() -> None:
        found.append(await run(pool, "cat", stdin=stdin, stdout=stdout))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cat)
        for data in (b"one", b"two"):
            await sender.send_all(data)
            assert await receiver.receive_some(100) == data
            await trio.testing.wait_all_tasks_blocked()
            assert not found
        await sender.aclose()
    assert found[0].returncode == 0


async def test_an_async_iterable_is_the_input(pool: Pool) -> None:
    """In pieces, as they come."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        for data in (b"one ", b"", b"two"):
            await trio.lowlevel.checkpoint()
            yield data

    assert (await run(pool, "cat", stdin=pieces())).stdout == b"one two"


async def test_its_files(pool: Pool) -> None:
    """A tree of its own, of which the caller collects what it asks for."""
    done = await run(pool, "read", "dir/in.txt", files={"/dir/in.txt": b"content"})
    assert done.stdout == b"content"
    done = await run(pool, "write", "out.txt", "text", files={}, collect=["*.txt"])
    assert dict(done.files) == {"/out.txt": b"text"}


async def test_a_directory_of_the_host(pool: Pool, tmp_path: Path) -> None:
    """It is read-only, unless it is said to be writable; nothing leads out of it."""
    (tmp_path / "secret").write_text("secret")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "file").write_text("content")
    (inside / "out").symlink_to("../secret")
    preopens = {"/": inside}
    assert (await run(pool, "read", "file", preopens=preopens)).stdout == b"content"
    for path, code in (
        ("none", 20), ("../secret", 31), ("/etc/passwd", 31), ("out", 31), ("file/x", 24)
    ):  # fmt: skip
        done = await run(pool, "read", path, preopens=preopens)
        assert (done.returncode, done.stdout) == (1, b"error %d\n" % code)
    done = await run(pool, "write", "new", "text", preopens=preopens)
    assert (done.returncode, done.stdout) == (1, b"error 33\n")
    writable = {"/": Preopen(inside, writable=True)}
    assert (await run(pool, "write", "new", "text", preopens=writable)).returncode == 0
    assert (inside / "new").read_text() == "text"


async def test_what_its_component_was_given_is_what_a_run_gets(directory: Path) -> None:
    """Unless the run says otherwise."""
    wasi = Wasi(args=["p", "env"], env={"A": "b"})
    component = await Component.compile(PROGRAM, cache=directory, wasi=wasi)
    async with open_pool(component) as pool:
        assert (await pool.run()).stdout == b"A=b\n"
        assert (await pool.run(env={})).stdout == b""


# --- how it ends ---


@pytest.mark.parametrize(
    ("words", "code"),
    [((), 0), (("exit", "0"), 0), (("exit", "1"), 1), (("fail",), 1)],
)
async def test_its_return_code(pool: Pool, words: tuple[str, ...], code: int) -> None:
    """By what it returns, or by its exit."""
    assert (await run(pool, *words)).returncode == code
    if code:
        with pytest.raises(GuestExit):
            await run(pool, *words, check=True)


async def test_a_trap_carries_what_was_written(pool: Pool) -> None:
    """As of a module."""
    with pytest.raises(GuestTrap) as caught:
        await run(pool, "trap")
    assert caught.value.code == "unreachable"


async def test_an_instance_runs_once(pool: Pool) -> None:
    """And retires as finished; a run sees nothing of another."""
    for _ in range(3):
        assert (await run(pool, "read", "x", files={"/x": b"1"})).stdout == b"1"
        done = await run(pool, "read", "x", files={})
        assert done.stdout == b"error 20\n"
    with trio.fail_after(20):
        while pool.statistics().retired["finished"] < 6:
            await trio.lowlevel.checkpoint()


async def test_its_time_is_limited(directory: Path) -> None:
    """Whether it computes or sleeps."""
    limits = Limits(call_seconds=0.05)
    component = await Component.compile(PROGRAM, cache=directory, limits=limits)
    async with open_pool(component) as pool:
        for words in (("spin",), ("nap", HOUR)):
            with pytest.raises(CallTimeout):
                await run(pool, *words)


# --- waiting ---


async def test_sleeping_programs_hold_up_nobody(
    component: Component, autojump_clock: MockClock
) -> None:
    """Four that sleep an hour take one hour of trio's together, and no thread."""
    async with open_pool(component, size=4, min_size=4) as pool:
        began = trio.current_time()
        found: list[Completed] = []

        async def nap() -> None:
            found.append(await run(pool, "nap", HOUR))

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(nap)
        assert [done.stdout for done in found] == [b"slept\n"] * 4
        assert 3600 <= trio.current_time() - began < 3700


async def test_a_program_polls_input_and_a_timer(
    component: Component, autojump_clock: MockClock
) -> None:
    """It is told of what happens first."""
    _, silent = trio.testing.memory_stream_one_way_pair()
    async with open_pool(component) as pool:
        assert (await run(pool, "race", HOUR, stdin=silent)).stdout == b"timer\n"
        assert (await run(pool, "race", HOUR, stdin=b"x")).stdout == b"input\n"
        assert (await run(pool, "race", "0", stdin=silent)).stdout == b"timer\n"


@pytest.mark.parametrize("words", [("nap", HOUR), ("race", HOUR), ("cat",), ("spin",)])
async def test_a_run_is_cancelled_wherever_it_waits(pool: Pool, words: tuple[str, ...]) -> None:
    """The pool serves on, and nothing is left of it."""
    _, silent = trio.testing.memory_stream_one_way_pair()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: run(pool, *words, stdin=silent))
            while not pool.statistics().leased:
                await trio.lowlevel.checkpoint()
            for _ in range(10):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert (await run(pool)).stdout == b"hello\n"
    assert pool.statistics().retired["cancelled"] == 1


async def test_a_writer_is_cancelled_while_nobody_reads(pool: Pool) -> None:
    """It waits for its reader, and no longer than its task."""
    stdout, receiver = trio.testing.lockstep_stream_one_way_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run(pool, "cat", stdin=b"x" * 100, stdout=stdout))
        assert await receiver.receive_some(1) == b"x"
        nursery.cancel_scope.cancel()
    assert (await run(pool)).stdout == b"hello\n"


async def test_clocks_and_random_numbers(pool: Pool) -> None:
    """The time of day, a clock that goes forward, and as many bytes as it asks for."""
    seconds, direction = (await run(pool, "time")).stdout.split()
    assert int(seconds) > 1_700_000_000
    assert direction == b"forward"
    assert (await run(pool, "random", "100000")).stdout == b"100000\n"


# --- programs of strangers ---


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (("write-too-much",), GuestTrap, "a write of 4,097 bytes, where 4,096 are permitted"),
        (("wait-for-nothing",), GuestTrap, "a list of 0 pollables"),
        (("random", "18446744073709551615"), GuestTrap, "random bytes at once"),
        (("keep-every-timer",), GuestMemoryError, "handles of host resources"),
        (("exit", "7"), GuestTrap, "discriminant"),
    ],
)
async def test_what_no_program_should_do_ends_its_run_alone(
    pool: Pool, words: tuple[str, ...], error: type[Exception], says: str
) -> None:
    """In an error of ours that says what it was; the pool serves on."""
    with pytest.raises(error, match=says):
        await run(pool, *words)
    assert (await run(pool)).stdout == b"hello\n"


async def test_nothing_is_left_of_runs(component: Component, tmp_path: Path) -> None:
    """No open file of this process, whatever was open when they ended."""
    (tmp_path / "file").write_text("x")
    async with open_pool(component, size=2) as pool:
        for words in (("read", "file"), ("read", "none"), ("trap",), ("fail",)):
            with pytest.raises(GuestTrap) if words == ("trap",) else trio.CancelScope():
                await run(pool, *words, preopens={"/": tmp_path})
    assert descriptors_of(tmp_path) == 0


async def test_output_of_a_call_is_logged_line_by_line(
    component: Component, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a run does not take it: in a plain call of its function."""
    caplog.set_level(logging.INFO, "wasmpool.guest.stdout")
    instance = await component.instantiate()
    await instance.call("wasi:cli/run@0.2.0#run")
    await instance.aclose()
    assert [(each.name, each.message) for each in caplog.records] == [
        ("wasmpool.guest.stdout", "hello")
    ]


# --- linking ---


async def test_a_function_of_wasi_can_be_replaced(directory: Path) -> None:
    """By one with another version of 0.2, or with none."""
    for version in ("@0.2.7", ""):

        @host_function(f"wasi:cli/environment{version}", "get-arguments")
        def get_arguments(_: object) -> list[str]:
            return ["program", "args", "replaced"]

        component = await Component.compile(PROGRAM, imports=[get_arguments], cache=directory)
        async with open_pool(component) as pool:
            assert (await pool.run()).stdout == b"program\nargs\nreplaced\n"


async def test_what_is_missing_of_wasi_is_named() -> None:
    """An interface, a function, or another version."""
    wat = """(component
      (import "wasi:cli/stdin@0.3.0" (instance (export "read-via-stream" (func (result u32)))))
      (import "wasi:clocks/timezone@0.2.0" (instance (export "utc-offset" (func (result s32)))))
      (import "wasi:cli/environment@0.2.0"
        (instance (export "get-argument" (func (result string))))))"""
    with pytest.raises(LinkError) as caught:
        await Component.compile(wat)
    text = str(caught.value)
    assert "wasi:cli/stdin@0.3.0#read-via-stream" in text
    assert "wasi:clocks/timezone@0.2.0#utc-offset" in text
    assert "wasi:cli/environment@0.2.0#get-argument: func() -> string" in text
    assert "(there is wasi:cli/environment#get-arguments)" in text


async def test_a_function_of_wasi_with_another_type_is_not_provided() -> None:
    """It would be called with values that it is not for."""
    wat = """(component
      (import "wasi:random/random@0.2.0"
        (instance (export "get-random-bytes" (func (param "len" string) (result (list u8)))))))"""
    with pytest.raises(LinkError) as caught:
        await Component.compile(wat)
    says = "func(len: string) -> list<u8> (that of WASI is (u64) -> list<u8>)"
    assert says in str(caught.value)


async def test_a_resource_of_the_application_is_not_taken_for_one_of_wasi() -> None:
    """A component may call it by any name: no method of the object is called."""

    class Safe:
        def blocking_read(self, _size: int) -> bytes:
            raise AssertionError

        blocking_skip = skip = read = blocking_read

    @host_function("test:host/safes", "open")
    def open_safe(_: object) -> Safe:
        return Safe()

    wat = """(component
      (import "test:host/safes" (instance $safes
        (export "input-stream" (type $s (sub resource)))
        (export "open" (func (result (own $s))))))
      (alias export $safes "input-stream" (type $safe))
      (import "wasi:io/streams@0.2.0" (instance $streams
        (export "error" (type $e (sub resource)))
        (alias outer 1 $safe (type $s0)) (export "input-stream" (type $s (eq $s0)))
        (type $v (variant (case "last-operation-failed" (own $e)) (case "closed")))
        (export "stream-error" (type $x (eq $v)))
        (export "[method]input-stream.skip"
          (func (param "self" (borrow $s)) (param "len" u64) (result (result u64 (error $x)))))))
      (core module $memory (memory (export "memory") 1))
      (core instance $m (instantiate $memory))
      (alias core export $m "memory" (core memory $memory))
      (core func $open (canon lower (func $safes "open")))
      (core func $skip
        (canon lower (func $streams "[method]input-stream.skip") (memory $memory)))
      (core module $main
        (import "h" "open" (func $open (result i32)))
        (import "h" "skip" (func $skip (param i32 i64 i32)))
        (func (export "f") (call $skip (call $open) (i64.const 1) (i32.const 0))))
      (core instance $i (instantiate $main (with "h" (instance
        (export "open" (func $open)) (export "skip" (func $skip))))))
      (func (export "f") (canon lift (core func $i "f"))))"""
    component = await Component.compile(wat, imports=[open_safe])
    instance = await component.instantiate()
    with pytest.raises(GuestTrap, match="was given a Safe where it takes a InputStream"):
        await instance.call("f")
    await instance.aclose()


@pytest.mark.parametrize(
    ("wat", "export", "error", "says"),
    [
        ("(component)", "_start", ValueError, "exports no wasi:cli/run of version 0.2"),
        ("(component)", "other", ValueError, "has no export 'other'"),
        (
            """(component
              (core module $m (func (export "f") (param i32)))
              (core instance $i (instantiate $m))
              (func (export "f") (param "a" u32) (canon lift (core func $i "f"))))""",
            "f", TypeError, "a program is func",
        ),
    ],
)  # fmt: skip
async def test_what_is_no_program_is_refused(
    wat: str, export: str, error: type[Exception], says: str
) -> None:
    """And its instance is as good as before."""
    component = await Component.compile(wat)
    assert not component.is_program
    instance = await component.instantiate()
    with pytest.raises(error, match=says):
        await instance.run(export=export)
    assert instance.poisoned is None
    await instance.aclose()


async def test_a_function_at_the_root_is_run_by_its_name() -> None:
    """A number that it returns is its return code."""
    component = await Component.compile(
        """(component
          (core module $m (func (export "f") (result i32) (i32.const 5)))
          (core instance $i (instantiate $m))
          (func (export "f") (result u8) (canon lift (core func $i "f"))))"""
    )
    instance = await component.instantiate()
    assert (await instance.run(export="f")).returncode == 5
    await instance.aclose()
