"""Snapshots of real guests, in Zig, Go and C, answer as ordinary instances that were set up."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.guests.test_plugin_guests import IMPORTS

from wasmpool.example import PATH
from wasmpool_host import Module, Preopen, Wasi

if TYPE_CHECKING:
    from wasmpool_host import Instance

HERE = Path(__file__).parent
CREDENTIALS = b'{"base_url":"http://host","api_key":"secret"}'
TOOLS = ["echo", "word_count", "spin", "fetch", "remember", "recall", "grow", "overlap", "sing"]
ALPHABET = 'ab \n"\\\u00e9\u4e00{}[]'


def request(rng: random.Random) -> bytes:
    """A tool's call, with arguments that it may know, or not."""
    text = "".join(rng.choices(ALPHABET, k=rng.choice([0, 3, 40, 5_000])))
    args = {
        "message": text,
        "text": text,
        "value": text,
        "path": "/" + "x" * rng.randrange(9),
        "rounds": rng.randrange(2_000),
        "bytes": rng.choice([0, 1, 100_000]),
    }
    return json.dumps({"tool_name": rng.choice(TOOLS), "args": args}).encode()


async def configure(instance: Instance) -> None:
    """What a plugin's setup does."""
    await instance.exchange("metadata")
    assert await instance.exchange("configure", CREDENTIALS) == b""
    await instance.exchange("tools")


async def answers(module: Module, setup: Any, seed: int, count: int) -> list[bytes]:
    """What one instance answers to some calls, all that it remembers included."""
    rng = random.Random(seed)
    instance = await module.instantiate()
    if setup is not None:
        await setup(instance)
    found = [await instance.exchange("execute", request(rng)) for _ in range(count)]
    await instance.aclose()
    return found


@pytest.mark.parametrize("guest", ["example", "go_plugin.wasm", "leaky.wasm", "wat_plugin.wat"])
async def test_a_plugin_answers_as_one_that_was_configured(guest: str, cache: Path) -> None:
    """Some hundred random calls: one instance for all, one for some, one for each."""
    source = PATH if guest == "example" else HERE / guest
    module = await Module.compile(source, imports=IMPORTS, cache=cache)
    ready = await module.snapshot(configure)
    for seed, count in [
        (1, 150),
        *((seed, 5) for seed in range(2, 12)),
        *((k, 1) for k in range(20)),
    ]:
        expected = await answers(module, configure, seed, count)
        assert await answers(ready, None, seed, count) == expected


async def test_a_reactor_in_c(tmp_path: Path) -> None:
    """The memory of its C library is there: files that are opened later, streams, allocations."""
    (tmp_path / "file").write_text("content")
    wasi = Wasi(
        args=("c", "arg"), env={"K": "v"}, preopens={"/": Preopen(tmp_path)}, stdin=b"a\nb\n"
    )
    module = await Module.compile(HERE / "c_reactor.wasm", wasi=wasi)

    async def setup(instance: Instance) -> None:
        """It looks at all that it is given, but for its input, and leaves nothing open."""
        await instance.call("argc")
        for name in ("arguments", "environment", "preopens"):
            await instance.exchange(name)
        await instance.exchange("read_file", b"/file")
        await instance.exchange("list_dir", b"/")
        await instance.exchange("say", b"a line\n")

    ready = await module.snapshot(setup)
    first, second = await module.instantiate(), await ready.instantiate()
    await setup(first)
    for name, payload in [
        ("arguments", None),
        ("environment", None),
        ("env", b"K"),
        ("preopens", None),
        ("read_file", b"/file"),
        ("read_line", None),
        ("read_stdin", None),
        ("list_dir", b"/"),
        ("read_file", b"/none"),
        ("say", b"x" * 5_000),
        ("stat_path", b"/none"),
    ]:
        expected = await first.exchange(name, payload)
        assert await second.exchange(name, payload) == expected, name
    assert first.memory.size == second.memory.size
    await first.aclose()
    await second.aclose()


@pytest.mark.parametrize("guest", ["example", "go_plugin.wasm"])
async def test_instances_are_isolated(guest: str, cache: Path) -> None:
    """The memory of each new one is the same, byte for byte, whatever another has done."""
    source = PATH if guest == "example" else HERE / guest
    ready = await (await Module.compile(source, imports=IMPORTS, cache=cache)).snapshot(configure)
    first = await ready.instantiate()
    born = first.memory.read(0, first.memory.size)
    rng = random.Random(7)
    for _ in range(20):
        await first.exchange("execute", request(rng))
    second = await ready.instantiate()
    assert second.memory.read(0, second.memory.size) == born
    await first.aclose()
    third = await ready.instantiate()
    assert third.memory.read(0, third.memory.size) == born
    assert b"secret" in born, "the credentials are in the snapshot"
    await second.aclose()
    await third.aclose()


async def test_the_state_is_that_of_the_instance_bit_for_bit() -> None:
    """What the setup has seen of the memory last is what each instance begins with."""
    seen: list[bytes] = []

    async def setup(instance: Instance) -> None:
        await instance.call("random64")
        await instance.call("clock", 0)
        seen.append(instance.memory.read(0, instance.memory.size))

    ready = await (await Module.compile(HERE / "c_reactor.wasm")).snapshot(setup)
    instance = await ready.instantiate()
    assert instance.memory.read(0, instance.memory.size) == seen[0]
    await instance.aclose()
