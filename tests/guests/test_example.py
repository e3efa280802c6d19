"""The example plugin, by the contract and the promises of its tools, on the real host."""

import json
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmpool.example import PATH
from wasmpool_host import (
    Caller,
    FunctionType,
    GuestExit,
    GuestTrap,
    HostFunction,
    Instance,
    Module,
    host_function,
)

Answer = dict[str, Any]


class World:
    """What the plugin sees of its host, and what it asked for."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.requests: list[Answer] = []
        self.log: list[str] = []
        self.response = b'{"status":200,"body":"caf\\u00e9"}'

    def imports(self) -> list[HostFunction]:
        @host_function("env", "host_http_request", params=("i64",), results=("i64",))
        async def request(caller: Caller, packed: int) -> int:
            self.requests.append(json.loads(caller.read(packed)))
            return await caller.reply(self.response)

        @host_function("env", "host_log", params=("i32", "i32"), results=())
        def log(caller: Caller, ptr: int, size: int) -> None:
            self.log.append(caller.memory.read(ptr, size).decode())

        return [request, log]


@pytest.fixture(scope="module")
def shared_world() -> World:
    return World()


@pytest.fixture
def world(shared_world: World) -> World:
    shared_world.reset()
    return shared_world


@pytest.fixture(scope="module")
def module(shared_world: World) -> Module:
    return trio.run(partial(Module.compile, PATH, imports=shared_world.imports()))


@pytest.fixture
async def plugin(module: Module, world: World) -> AsyncGenerator[Instance, None]:
    instance = await module.instantiate()
    yield instance
    await instance.aclose()


async def execute(plugin: Instance, tool: str, **args: object) -> Answer:
    request = json.dumps({"tool_name": tool, "args": args}).encode()
    answer = json.loads(await plugin.exchange("execute", request))
    assert isinstance(answer, dict)
    return answer


async def result(plugin: Instance, tool: str, **args: object) -> Answer:
    answer = await execute(plugin, tool, **args)
    assert set(answer) == {"data"}, answer
    value = json.loads(answer["data"])
    assert isinstance(value, dict)
    return value


async def complaint(plugin: Instance, tool: str, **args: object) -> str:
    answer = await execute(plugin, tool, **args)
    assert answer["is_error"] is True
    return str(answer["data"])


def counted(text: str) -> Answer:
    """What `word_count` promises, by other means."""
    words = [word.decode() for word in text.encode().split()]
    top = sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))[:10]
    return {
        "lines": text.count("\n") + (1 if text and not text.endswith("\n") else 0),
        "words": len(words),
        "characters": len(text),
        "top": [list(item) for item in top],
    }


def test_it_has_the_exports_of_the_contract_and_imports_no_more(module: Module) -> None:
    """Names and types are those of ABI version 1."""
    functions = {
        name: (type_.params, type_.results)
        for name, type_ in module.exports.items()
        if isinstance(type_, FunctionType)
    }
    assert functions == {
        "_initialize": ((), ()),
        "compact_specs": ((), ("i64",)),
        "configure": (("i64",), ("i64",)),
        "execute": (("i64",), ("i64",)),
        "free": (("i32",), ()),
        "healthy": ((), ("i32",)),
        "malloc": (("i32",), ("i32",)),
        "metadata": ((), ("i64",)),
        "name": ((), ("i64",)),
        "tools": ((), ("i64",)),
    }
    assert set(module.exports) - set(functions) == {"memory"}
    assert set(module.imports) == {
        "env.host_http_request",
        "env.host_log",
        "wasi_snapshot_preview1.poll_oneoff",
        "wasi_snapshot_preview1.proc_exit",
    }


async def test_it_describes_itself(plugin: Instance) -> None:
    """Name, metadata, tools and compact specs have the shapes of the contract."""
    assert await plugin.exchange("name") == b"example"
    assert await plugin.call("healthy") == 1
    metadata = json.loads(await plugin.exchange("metadata"))
    assert set(metadata) == set(
        "name version abi_version description author homepage license capabilities "
        "credential_keys plain_text_keys optional_keys placeholders".split()
    )
    assert metadata["abi_version"] == 1
    tools = json.loads(await plugin.exchange("tools"))
    assert [tool["name"] for tool in tools] == (
        "word_count echo spin nap fetch remember recall grow crash quit".split()
    )
    for tool in tools:
        assert tool["description"]
        assert tool.get("required", []) == list(tool["parameters"])
    specs = json.loads(await plugin.exchange("compact_specs"))
    assert set(specs) <= {tool["name"] for tool in tools}


@settings(deadline=None, max_examples=60)
@given(
    texts=st.lists(
        st.text(st.characters(codec="utf-8") | st.sampled_from("ab \t\n\r\v\f\x1c\u00a0"))
    )
)
async def test_word_count_counts_as_python_does(module: Module, texts: list[str]) -> None:
    """Lines, words, characters and the ten most frequent words of any text."""
    plugin = await module.instantiate()
    for text in ["", *texts]:
        assert await result(plugin, "word_count", text=text) == counted(text)
    await plugin.aclose()


async def test_word_count_of_many_different_words(plugin: Instance) -> None:
    """Beyond ten words the order of ties decides, by code point."""
    words = [chr(0x61 + k % 97) * (k % 7 + 1) for k in range(5000)] + ["\U0001d11e", "\uffee"]
    text = " ".join(words)
    assert await result(plugin, "word_count", text=text) == counted(text)


@pytest.mark.parametrize(
    "message",
    [
        "",
        'q"\\\b\f\n\r\t\x01\x1f\x7f',
        "caf\u00e9 \U0001d11e",
        -1.5e300,
        None,
        True,
        [1, {"a": []}],
    ],
)
async def test_echo_gives_back_any_json(plugin: Instance, message: object) -> None:
    """Whatever JSON can say comes back equal, also when it is not escaped to ASCII."""
    assert await result(plugin, "echo", message=message) == {"echo": message}
    request = {"args": {"message": message}, "tool_name": "echo"}
    raw = json.dumps(request, ensure_ascii=False, indent=2).encode()
    answer = json.loads(await plugin.exchange("execute", raw))
    assert json.loads(answer["data"]) == {"echo": message}


async def test_echo_of_a_large_message_fits_the_memory_that_plugins_get(plugin: Instance) -> None:
    """Ten megabytes pass within 64 MiB, again and again."""
    message = "x" * 10_000_000
    for _ in range(3):
        assert await result(plugin, "echo", message=message) == {"echo": message}
    assert plugin.memory.size <= 64 * 2**20


async def test_spin_computes_the_congruence(plugin: Instance) -> None:
    """The value is that of the last round, 0 without any."""
    x = 0
    for rounds in range(50):
        assert await result(plugin, "spin", rounds=rounds) == {"value": x}
        x = (x * 1664525 + 1013904223) % 2**32


async def test_nap_tells_how_long(plugin: Instance) -> None:
    """It answers with its argument."""
    assert await result(plugin, "nap", ms=1) == {"slept": 1}


async def test_remember_keeps_a_value_for_recall(plugin: Instance) -> None:
    """The last value remembered is recalled; null before."""
    assert await result(plugin, "recall") == {"value": None}
    assert await result(plugin, "remember", value=[1, "\u20ac"]) == {"value": [1, "\u20ac"]}
    assert await result(plugin, "remember", value="b") == {"value": "b"}
    assert await result(plugin, "recall") == {"value": "b"}


async def test_grow_takes_memory_and_keeps_it(plugin: Instance) -> None:
    """The memory holds all that was asked for, and the total says how much."""
    before = plugin.memory.size
    assert await result(plugin, "grow", bytes=1) == {"total": 1}
    assert await result(plugin, "grow", bytes=1_000_000) == {"total": 1_000_001}
    assert plugin.memory.size >= before + 1_000_001
    assert "999999999999 bytes" in await complaint(plugin, "grow", bytes=999_999_999_999)
    assert await result(plugin, "grow", bytes=0) == {"total": 1_000_001}


async def test_crash_traps(plugin: Instance) -> None:
    """It is an unreachable instruction."""
    with pytest.raises(GuestTrap) as caught:
        await execute(plugin, "crash")
    assert caught.value.code == "unreachable"


async def test_quit_exits_with_its_status(plugin: Instance) -> None:
    """It is proc_exit."""
    with pytest.raises(GuestExit) as caught:
        await execute(plugin, "quit", status=7)
    assert caught.value.status == 7


async def test_fetch_asks_with_the_configured_credentials(plugin: Instance, world: World) -> None:
    """The address is base_url + path, the api_key a bearer token that the log does not show."""
    assert "not configured" in await complaint(plugin, "fetch", path="/a")
    credentials = {"base_url": "http://h/b", "api_key": 'k"\u00e9'}
    assert await plugin.exchange("configure", json.dumps(credentials).encode()) == b""
    answer = await result(plugin, "fetch", path="/a?q=\u20ac")
    assert answer == {"status": 200, "body": "caf\u00e9"}
    assert world.log == ["configured for http://h/b"]
    assert await plugin.exchange("configure", b'{"base_url":"http://other"}') == b""
    await result(plugin, "fetch", path="")
    assert world.requests == [
        {
            "method": "GET",
            "url": "http://h/b/a?q=\u20ac",
            "headers": {"Authorization": 'Bearer k"\u00e9'},
        },
        {"method": "GET", "url": "http://other", "headers": {}},
    ]


@pytest.mark.parametrize("response", [b"", b"[]", b'{"body":"x"}', b'{"status":', b'{"a":"\xff"}'])
async def test_fetch_survives_any_reply(plugin: Instance, world: World, response: bytes) -> None:
    """A reply that makes no sense is an error result."""
    world.response = response
    assert await plugin.exchange("configure", b'{"base_url":"http://h"}') == b""
    assert "fetch: " in await complaint(plugin, "fetch", path="/")


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        (b"", "ends too early"),
        (b"[]", "needs a JSON object"),
        (b"{}", "base_url is missing"),
        (b'{"base_url":""}', "base_url is empty"),
        (b'{"base_url":5}', "base_url is 5, not a string"),
        (b'{"base_url":"http://h","api_key":null}', "api_key is null, not a string"),
        (b'{"base_url":"http://h","token":"t"}', 'unknown key "token"'),
        (b'{"base_url":"\xff"}', "malformed"),
    ],
)
async def test_configure_refuses_with_a_reason_and_keeps_what_it_had(
    plugin: Instance, world: World, credentials: bytes, said: str
) -> None:
    """The text names the key, and the old credentials go on."""
    assert await plugin.exchange("configure", b'{"base_url":"http://old"}') == b""
    assert said in (await plugin.exchange("configure", credentials)).decode()
    await result(plugin, "fetch", path="")
    assert world.requests[0]["url"] == "http://old"


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (b"", "ends too early"),
        (b"{}", "tool_name is missing"),
        (b"[]", "needs a JSON object"),
        (b'{"tool_name":1}', "tool_name is not a string"),
        (b'{"tool_name":"echo","args":1}', "needs a JSON object"),
        (b'{"tool_name":"echo"}', "echo: message is missing"),
        (b'{"tool_name":"echo","args":{"message":"\xff"}}', "malformed"),
        (b'{"tool_name":"echo","args":{"message":1}} 2', "malformed"),
        (b'{"tool_name":"spin","args":{"rounds":-1}}', "spin: rounds is -1, not a whole number"),
        (b'{"tool_name":"nap","args":{"ms":"5"}}', "nap: ms is a string, not a whole number"),
        (b'{"tool_name":"quit","args":{"status":4294967296}}', "quit: status is 4294967296"),
        (b'{"tool_name":"word_count","args":{"text":null}}', "word_count: text is null"),
        (b'{"tool_name":"sing"}', 'unknown tool "sing": there are word_count, echo,'),
    ],
)
async def test_a_wrong_request_is_answered(plugin: Instance, request_: bytes, said: str) -> None:
    """The answer is an error that names what is wrong."""
    answer = json.loads(await plugin.exchange("execute", request_))
    assert answer["is_error"] is True
    assert said in answer["data"]


async def test_broken_bytes_never_trap(plugin: Instance) -> None:
    """Requests with bytes changed or cut off are answered in JSON."""
    chance = random.Random(7)
    good = json.dumps({"tool_name": "echo", "args": {"message": "a\u20ac\n", "n": [1, 2.5e3]}})
    for _ in range(2000):
        bad = bytearray(good.replace("\\u20ac", "\u20ac").encode())
        for _ in range(chance.choice([1, 1, 2, 5])):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        del bad[chance.choice([len(bad), chance.randrange(len(bad))]) :]
        assert "data" in json.loads(await plugin.exchange("execute", bytes(bad)))
    for nested in (b"[" * 100_000, b'{"a":' * 100_000):
        assert json.loads(await plugin.exchange("execute", nested))["is_error"] is True


@pytest.mark.parametrize(
    "work",
    [
        lambda k: ("execute", {"tool_name": "echo", "args": {"message": f"hello {k}"}}),
        lambda k: ("execute", {"tool_name": "word_count", "args": {"text": "a b c " * (k % 40)}}),
        lambda k: ("execute", {"tool_name": "remember", "args": {"value": "x" * (k % 500)}}),
        lambda k: ("execute", {"tool_name": "fetch", "args": {"path": "x" * (k % 500)}}),
        lambda k: ("configure", {"base_url": "http://" + "h" * (k % 500 + 1)}),
        lambda k: ("execute", {"tool_name": "x" * (k % 500)}),
    ],
    ids=["echo", "word_count", "remember", "fetch", "configure", "error"],
)
async def test_no_call_leaves_memory_behind(
    plugin: Instance, work: Callable[[int], tuple[str, object]]
) -> None:
    """Five thousand calls take no more memory than the first five hundred."""
    assert await plugin.exchange("configure", b'{"base_url":"http://h"}') == b""
    for k in range(500):
        name, payload = work(k)
        await plugin.exchange(name, json.dumps(payload).encode())
    warm = plugin.memory.size
    for k in range(4500):
        name, payload = work(k)
        await plugin.exchange(name, json.dumps(payload).encode())
    assert plugin.memory.size == warm


async def test_malloc_and_free_in_any_order(plugin: Instance) -> None:
    """Blocks never overlap, whatever is freed when; 0 is what malloc has for too much."""
    chance = random.Random(3)
    blocks: dict[int, bytes] = {}
    for k in range(3000):
        if blocks and chance.random() < 0.5:
            ptr = chance.choice(list(blocks))
            content = blocks.pop(ptr)
            assert plugin.memory.read(ptr, len(content)) == content
            await plugin.call("free", ptr)
        else:
            content = bytes([k % 256]) * chance.choice([0, 1, 7, 8, 9, 100, 4000, 65536, 300_000])
            block = await plugin.call("malloc", len(content))
            assert isinstance(block, int)
            ptr = block
            assert ptr > 0
            assert ptr % 8 == 0
            plugin.memory.write(ptr, content)
            blocks[ptr] = content
    assert await plugin.call("malloc", -1) == 0
    assert await plugin.call("malloc", 2**31 - 1) == 0
    await plugin.call("free", 0)
