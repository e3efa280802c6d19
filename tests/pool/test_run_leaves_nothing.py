"""After thousands of runs nothing is left of them, and nothing was ever on the host's disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest
from tests.measured import linux, measure

GUESTS: Final = Path(__file__).parents[1] / "guests"

KINDS: Final = """
from pathlib import Path
import trio.testing
from wasmpool import open_pool

GUESTS, N = Path(sys.argv[1]), int(sys.argv[2])
FULL = 200_000

async def files(pool, k):
    done = await pool.run(["p", "append", "/dir/file", "more"], files={"/dir/file": b"x" * 100_000},
                          collect=["**"])
    assert done.files == {"/dir/file": b"x" * 100_000 + b"more"}

async def moves(pool, k):
    done = await pool.run(["p", "move", "/a/b", "/c"], files={"/a/b/d": b"1"}, collect=["c/*", "x"])
    assert done.files == {"/c/d": b"1"}

async def full(pool, k):
    done = await pool.run(["p", "fill", "/file"], files={}, files_limit=FULL)
    assert done.stdout.startswith(b"51 ")

async def traps(pool, k):
    try:
        await pool.run(["p", "panic", "x"], files={"/a": b"x"})
    except GuestTrap as error:
        assert error.stderr == b"panic: x\\n"

async def cancelled(pool, k):
    with trio.move_on_after(0.002):
        await pool.run(["p", "spin"], files={"/a": b"x" * 100_000})

async def streams(pool, k):
    feeder, stdin = trio.testing.memory_stream_one_way_pair()
    stdout, reader = trio.testing.memory_stream_one_way_pair()
    await feeder.send_all(b"x" * 100_000)
    feeder.close()
    done = await pool.run(["p", "cat"], stdin=stdin, stdout=stdout)
    assert (done.returncode, len(await reader.receive_some())) == (0, 100_000)

async def breaks(pool, k):
    async def pieces():
        yield b"x"
        raise KeyError
    try:
        await pool.run(["p", "cat"], stdin=pieces())
    except KeyError:
        pass

async def disk(pool, k):
    done = await pool.run(["p", "list", "/disk"], preopens={"/disk": GUESTS}, files={})
    assert b"c_program.c" in done.stdout

ALL = [files, moves, full, traps, streams, breaks, disk]

def kind_of(k):
    return cancelled if k % 50 == 0 else ALL[k % len(ALL)]
"""

MANY: Final = """
async def now():
    # Trio keeps up to 1,000 deadlines that have been left, and forgets all of them beyond that.
    for _ in range(1_001):
        with trio.move_on_after(1_000):
            pass
    await trio.sleep(0)
    return held() | {"blocks": sys.getallocatedblocks()}

async def main():
    module = await Module.compile(GUESTS / "c_program.wasm")
    limiter = trio.CapacityLimiter(16)

    async def one(k):
        async with limiter:
            await kind_of(k)(pool, k)

    async def runs(count):
        async with trio.open_nursery() as nursery:
            for k in range(count):
                nursery.start_soon(one, k)
        await trio.testing.wait_all_tasks_blocked()

    async with open_pool(module, size=8, min_size=4) as pool:
        await runs(300)
        before = await now()
        for _ in range(N // 200):
            await runs(200)
        after = await now()
    grown = {key: after[key] - before[key] for key in before}
    print(json.dumps(grown | {"threads": after["threads"]}))

trio.run(main)
"""


@linux
@pytest.mark.parametrize("runs", [400, pytest.param(5_000, marks=pytest.mark.slow)])
def test_many_runs_leave_nothing(runs: int) -> None:
    """No descriptor, thread, map or byte, however they end."""
    grown = measure(KINDS + MANY, str(GUESTS), str(runs))
    assert grown["threads"] <= 2 + (os.cpu_count() or 1)  # with the workers that trio keeps
    assert grown["files"] == 0
    assert abs(grown["maps"]) <= 20  # the allocator's own
    assert grown["blocks"] <= 500
    assert grown["bytes"] <= 2_000_000


WATCHED: Final = """
watching, made = False, []
MAKING = {"os.mkdir", "os.rename", "os.link", "os.symlink", "os.truncate", "tempfile.mkstemp",
          "tempfile.mkdtemp", "shutil.copyfile", "os.chmod", "os.utime"}

def hook(event, args):
    if watching and (event in MAKING or event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)):
        made.append([event, str(args)])

def written():
    with open("/proc/self/io") as io:
        return int(dict(line.split(": ") for line in io)["wchar"])

def targets():
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:  # the list's own
            pass
    return found

async def main():
    global watching
    module = await Module.compile(GUESTS / "c_program.wasm")
    prober = await Module.compile(GUESTS / "c_prober.wasm")
    sys.addaudithook(hook)
    async with open_pool(module, size=2) as pool, open_pool(prober, size=2) as probers:
        for kind in (*ALL, cancelled):
            await kind(pool, 0)
        opened = targets()
        watching, began = True, written()
        for k in range(N):
            for kind in (*ALL, cancelled):
                await kind(pool, k)
        seen = []
        await probers.run(["prober", "return"], stdin=b"MARK1", files={"/in/a": b"1"},
                          stdout=lambda data: seen.append(targets()))
        wrote, found = written() - began, list(made)
        Path("control").write_bytes(bytes(1000))
        noticed = (made[len(found):], written() - began - wrote >= 1000)
        watching = False
        Path("control").unlink()
    print(json.dumps({
        "made": found, "wrote": wrote, "noticed": noticed, "left": os.listdir("."),
        "opened": sorted(set().union(*seen) - opened), "times": len(seen), "filled": N * FULL,
    }))

trio.run(main)
"""


@linux
def test_nothing_ever_appears_on_the_hosts_disk(tmp_path: Path) -> None:
    """No file is made or written, not even one without a name, while programs fill their trees."""
    folders = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "TEMP", "TMP")}
    watched = measure(
        KINDS + WATCHED,
        *(str(GUESTS), "20"),
        cwd=tmp_path,
        env={**os.environ, **folders},
    )
    assert watched["made"] == []
    assert "control" in str(watched["noticed"][0])  # what the test does itself is seen
    assert watched["noticed"][1]
    assert watched["left"] == []
    assert watched["times"] >= 1
    assert [each for each in watched["opened"] if not each.startswith("/memfd:")] == []
    assert watched["wrote"] < watched["filled"] / 20
