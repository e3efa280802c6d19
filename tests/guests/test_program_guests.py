"""Programs in C, Zig and Go: what they are given, what they leave, and how each of them ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from tests.guests.build import go_program

from wasmpool_host import CallTimeout, Completed, GuestExit, GuestTrap, Limits, Module

if TYPE_CHECKING:
    from collections.abc import Callable

HERE: Final = Path(__file__).parent
MIB: Final = 1 << 20
LIMITS: Final = Limits(memory=32 * MIB, call_seconds=20)

IN_GO: Final = pytest.mark.slow  # built here, as it is too large to be committed


@pytest.fixture(scope="session")
def built_in_go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in Go, from the toolchain of the extra dev."""
    pytest.importorskip("go", reason="go builds the program: install the extra dev")
    target = tmp_path_factory.mktemp("go") / "go_program.wasm"
    go_program(target)
    return target


@pytest.fixture
def program_in(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    def find(language: str) -> Path:
        if language == "go":
            built: Path = request.getfixturevalue("built_in_go")
            return built
        return HERE / f"{language}_program.wasm"

    return find


@pytest.fixture(params=["c", "zig", pytest.param("go", marks=IN_GO)])
def program(request: pytest.FixtureRequest, program_in: Callable[[str], Path]) -> Path:
    """Those that all languages have alike."""
    return program_in(request.param)


async def run(program: Path, *words: str, limits: Limits = LIMITS, **options: Any) -> Completed:
    """Run a program in a new instance."""
    instance = await (await Module.compile(program, limits=limits)).instantiate()
    try:
        return await instance.run(["program", *words], **options)
    finally:
        await instance.aclose()


# --- in all languages ---


async def test_it_gets_its_arguments(program: Path) -> None:
    """As they are, whatever is in them."""
    done = await run(program, "args", "", "two words", "größe", "-x")
    assert done.stdout.decode() == "program\nargs\n\ntwo words\ngröße\n-x\n"


async def test_it_gets_its_environment(program: Path) -> None:
    """All of it, and nothing of the host's."""
    done = await run(program, "env", env={"A": "1=2", "GRÖSSE": "ü"})
    assert sorted(done.stdout.decode().splitlines()) == ["A=1=2", "GRÖSSE=ü"]
    assert (await run(program, "env")).stdout == b""


@pytest.mark.parametrize("size", [0, 1, 300_000])
async def test_it_reads_all_of_its_input(program: Path, size: int) -> None:
    """From bytes and from an async iterable."""
    data = bytes(number % 251 for number in range(size))

    async def pieces() -> Any:
        for at in range(0, size, 100_000):
            await trio.lowlevel.checkpoint()
            yield data[at : at + 100_000]

    assert (await run(program, "cat", stdin=data)).stdout == data
    assert (await run(program, "cat", stdin=pieces())).stdout == data


async def test_it_sees_and_changes_its_files(program: Path) -> None:
    """Directories can be listed, and files read and written, by relative paths."""
    files = {"/in/one": b"1", "/in/two": b"2"}
    done = await run(program, "list", "in", files=files)
    assert sorted(done.stdout.decode().split()) == ["one", "two"]
    done = await run(program, "copy", "in/one", "in/three", files=files, collect=["in/*"])
    assert done.files == {**files, "/in/three": b"1"}


async def test_relative_paths_lead_to_its_own_files(program: Path, tmp_path: Path) -> None:
    """Also where it has directories of the host."""
    (tmp_path / "word").write_text("on disk")
    world: dict[str, Any] = {"files": {"/word": b"in memory"}, "preopens": {"/disk": tmp_path}}
    done = await run(program, "copy", "word", "copy", collect=["copy"], **world)
    assert done.files == {"/copy": b"in memory"}


async def test_what_is_not_there_is_its_error(program: Path) -> None:
    """And it says so."""
    done = await run(program, "copy", "none", "other", files={}, collect=["**"])
    assert (done.returncode, done.files) == (1, {})
    assert done.stderr
    assert (await run(program, "list", "none")).returncode == 1


async def test_its_status_comes_back(program: Path) -> None:
    """As the return code; with ``check`` it is an error that carries what was printed."""
    for status in (0, 3, 255):
        assert (await run(program, "exit", str(status))).returncode == status
    with pytest.raises(GuestExit) as caught:
        await run(program, "what", check=True)
    assert (caught.value.status, caught.value.stderr) == (2, b"wrong use\n")
    assert caught.value.__notes__ == ["the guest's stderr ended with\n  wrong use"]


# --- C ---

C: Final = HERE / "c_program.wasm"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("panic", "now"), "unreachable"),
        (("divide", "0"), "integer-division-by-zero"),
        (("recurse",), "memory-out-of-bounds"),
    ],
)
async def test_a_mistake_in_c_is_a_trap(words: tuple[str, ...], code: str) -> None:
    """``abort``, a division by zero, and a stack that is full, at the start of its memory."""
    with pytest.raises(GuestTrap) as caught:
        await run(C, *words)
    assert caught.value.code == code


async def test_memory_ends_at_the_limit_in_c() -> None:
    """``ENOMEM``, and the program goes on."""
    done = await run(C, "grow")
    assert (done.returncode, done.stderr) == (1, b"calloc: errno 48\n")


# --- Zig ---

ZIG: Final = HERE / "zig_program.wasm"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("panic", "of a program"), "panic: of a program"),
        (("index", "9"), "panic: index out of bounds: index 9, len 4"),
        (("add", "6"), "panic: integer overflow"),
    ],
)
async def test_a_panic_in_zig_is_a_trap(words: tuple[str, str], message: str) -> None:
    """What it has printed is on the error, and its note says why."""
    with pytest.raises(GuestTrap) as caught:
        await run(ZIG, *words)
    assert caught.value.code == "unreachable"
    assert caught.value.stderr.startswith(message.encode())
    (note,) = caught.value.__notes__
    assert note.splitlines()[:2] == ["the guest's stderr ended with", f"  {message}"]


async def test_what_does_not_panic_in_zig_is_a_result() -> None:
    """The checks cost nothing where they pass."""
    assert (await run(ZIG, "index", "2")).stdout == b"3\n"
    assert (await run(ZIG, "add", "5")).stdout == b"255\n"


async def test_an_error_from_main_in_zig_is_status_1() -> None:
    """With its name on standard error."""
    done = await run(ZIG, "fail")
    assert (done.returncode, done.stderr) == (1, b"error: AsItWasAsked\n")


@pytest.mark.parametrize(
    ("word", "code"), [("recurse", "memory-out-of-bounds"), ("dive", "stack-overflow")]
)
async def test_deep_recursion_in_zig_is_a_trap(word: str, code: str) -> None:
    """Of the guest's own stack, which lies at the start of its memory, and of the machine's."""
    with pytest.raises(GuestTrap) as caught:
        await run(ZIG, word)
    assert caught.value.code == code


async def test_memory_ends_at_the_limit_in_zig() -> None:
    """Its allocator fails, and the program can say so."""
    done = await run(ZIG, "grow")
    assert (done.returncode, done.stderr) == (1, b"error: OutOfMemory\n")


async def test_a_crowd_of_names_fills_its_files() -> None:
    """Empty files are not free: their number is bounded, and the program is told."""
    done = await run(ZIG, "crowd", "in", files={"in/a": b""}, files_limit=100_000, collect=["**"])
    made, error = done.stdout.split()
    assert error == b"NoSpaceLeft"
    assert len(done.files) == int(made) + 1
    assert 100 < int(made) < 200
    assert set(done.files) == {"/in/a", *(f"/in/{number:08}" for number in range(int(made)))}


# --- Go ---


@IN_GO
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("panic", "of a program"), "panic: of a program\n\ngoroutine 1 [running]:\n"),
        (("nil",), "panic: runtime error: invalid memory address or nil pointer dereference\n"),
        (("deadlock",), "fatal error: all goroutines are asleep - deadlock!\n"),
    ],
)
async def test_a_panic_in_go_is_status_2(
    built_in_go: Path, words: tuple[str, ...], message: str
) -> None:
    """With the goroutines' traces on standard error, and in the note."""
    done = await run(built_in_go, *words)
    assert done.returncode == 2
    assert done.stderr.decode().startswith(message)
    with pytest.raises(GuestExit) as caught:
        await run(built_in_go, *words, check=True)
    (note,) = caught.value.__notes__
    assert "main.main()" in note


@IN_GO
@pytest.mark.parametrize("word", ["recurse", "grow"])
async def test_memory_ends_at_the_limit_in_go(built_in_go: Path, word: str) -> None:
    """Stacks are memory, too: the runtime ends with status 2, not the machine's stack."""
    done = await run(built_in_go, word)
    assert done.returncode == 2
    assert b"fatal error: out of memory" in done.stderr


@IN_GO
async def test_the_runtime_of_go_runs(built_in_go: Path) -> None:
    """Goroutines, timers, a recovered panic, and no deferred function at an exit."""
    assert (await run(built_in_go, "count", "1000")).stdout == b"1000\n"
    assert (await run(built_in_go, "nap", "20")).stdout == b"true\n"
    assert (await run(built_in_go, "recover", "x")).stdout == b"recovered: x\n"
    assert (await run(built_in_go, "exit", "0")).stdout == b""


@IN_GO
async def test_an_endless_program_in_go_is_stopped(built_in_go: Path) -> None:
    """By the limit, and by a cancel."""
    limits = Limits(memory=32 * MIB, call_seconds=0.1)
    with pytest.raises(CallTimeout):
        await run(built_in_go, "spin", limits=limits)
    with trio.move_on_after(0.1) as scope:
        await run(built_in_go, "spin")
    assert scope.cancelled_caught
