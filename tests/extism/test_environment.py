"""What a plugin imports of its host: configuration, variables, the log and HTTP."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.extism.script_guest import Result, Script, guest, results, script, step

from wasmpool import ExtismError, GuestMemoryError, HttpPolicy, Limits, open_extism

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

LOCAL = HttpPolicy(allow_private=True)


def manifest(**members: Any) -> Mapping[str, Any]:
    """A manifest of the guest that runs scripts."""
    return {"wasm": [{"data": guest().encode()}], **members}


def asks(function: str, name: bytes, second: int = 0) -> bytes:
    """A script that calls a function with a name, and has its result as the output."""
    written = Script()
    return written.output(written.add(function, written.block(name), second))


def sets(name: bytes, value: bytes) -> bytes:
    """A script that sets a variable."""
    written = Script()
    written.add("var_set", written.block(name), written.block(value))
    return written.end()


# --- configuration and variables ---


async def test_configuration() -> None:
    """The application's values are added to the manifest's, or remove them; others are empty."""
    given = manifest(config={"a": "1", "b": "2", "c": "3"})
    async with open_extism(given, config={"b": "zwei", "c": None, "d": "4"}) as plugin:
        found = [await plugin.call("run", asks("config_get", name)) for name in (b"a", b"b", b"c")]
        assert found == [b"1", b"zwei", b""]
        assert await plugin.call("run", asks("config_get", b"d")) == b"4"
        assert await plugin.call("run", asks("config_get", b"")) == b""
        assert await plugin.call("run", asks("config_get", b"\xff")) == b""


async def test_variables_are_kept_by_an_instance() -> None:
    """What a call sets the next one in this instance finds; offset 0 as the value removes it."""
    async with open_extism(guest(), size=1) as plugin:
        assert await plugin.call("run", asks("var_get", b"x")) == b""
        await plugin.call("run", sets(b"x", b"value"))
        assert await plugin.call("run", asks("var_get", b"x")) == b"value"
        await plugin.call("run", sets(b"x", b"other"))
        assert await plugin.call("run", asks("var_get", b"x")) == b"other"
        await plugin.call("run", asks("var_set", b"x"))
        assert await plugin.call("run", asks("var_get", b"x")) == b""


async def test_a_pristine_plugin_keeps_none() -> None:
    """With an instance for each call there is nothing to be found."""
    async with open_extism(guest(), pristine=True) as plugin:
        await plugin.call("run", sets(b"x", b"value"))
        assert await plugin.call("run", asks("var_get", b"x")) == b""


async def test_the_bound_of_variables() -> None:
    """``max_var_bytes`` counts names, values and 48 bytes for each; 0 is no variables."""
    async with open_extism(manifest(memory={"max_var_bytes": 60}), size=1) as plugin:
        await plugin.call("run", sets(b"name", b"12345678"))
        with pytest.raises(ExtismError, match="var_set: Variable store is full"):
            await plugin.call("run", sets(b"name", b"12345678"))
        with pytest.raises(ExtismError, match="Variable store is full"):
            await plugin.call("run", sets(b"name", b"123456789"))
        assert plugin.statistics().retired["host-error"] == 2
    async with open_extism(manifest(memory={"max_var_bytes": 0})) as plugin:
        with pytest.raises(ExtismError, match="Vars are disabled by this host"):
            await plugin.call("run", sets(b"n", b"1"))
        assert await plugin.call("run", asks("var_get", b"n")) == b""


async def test_given_blocks_are_freed() -> None:
    """The names and values that a guest gives are its host's, as in Extism."""
    written = Script()
    name, value = written.block(b"name"), written.block(b"value")
    written.add("var_set", name, value)
    lengths = [written.add("length", name), written.add("length", value)]
    message = written.block(b"text")
    written.add("log_error", message)
    lengths.append(written.add("length", message))
    async with open_extism(guest()) as plugin:
        found = results(await plugin.call("run", written.end()))
    assert [found[each.step] for each in lengths] == [0, 0, 0]


# --- the log ---


async def test_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Each level has its own, one line for a call, escaped, and cut at 8 KiB."""
    caplog.set_level(5, "wasmpool.extism")
    async with open_extism(guest(), name="p") as plugin:
        for level in ("trace", "debug", "info", "warn", "error"):
            written = Script()
            written.add(f"log_{level}", written.block(b"a\x1b\n" + level.encode()))
            await plugin.call("run", written.end())
        await plugin.call(
            "run", script(step("input_offset"), step("log_info", Result(0)), *[step("reset")] * 800)
        )
    lines = [(each.levelno, each.getMessage()) for each in caplog.records]
    assert lines[:5] == [
        (5, r"p: a\x1b\ntrace"),
        (logging.DEBUG, r"p: a\x1b\ndebug"),
        (logging.INFO, r"p: a\x1b\ninfo"),
        (logging.WARNING, r"p: a\x1b\nwarn"),
        (logging.ERROR, r"p: a\x1b\nerror"),
    ]
    assert lines[5][1].endswith(" ... (19,248 bytes)")
    assert vars(caplog.records[0])["plugin"] == "p"


@pytest.mark.parametrize(
    ("level", "number"),
    [(1, 0), (5, 0), (logging.DEBUG, 1), (logging.INFO, 2), (logging.WARNING, 3), (60, 0x7FFFFFFF)],
)
async def test_the_level_of_the_log(
    caplog: pytest.LogCaptureFixture, level: int, number: int
) -> None:
    """A guest can ask what is logged; what is not costs it nothing and is no error."""
    caplog.set_level(level, "wasmpool.extism")
    async with open_extism(guest()) as plugin:
        steps = script(
            step("get_log_level"), step("log_trace", 12345) if level > 5 else step("reset")
        )
        assert results(await plugin.call("run", steps))[0] == number


# --- HTTP ---


def fetches(url: str, *, body: bytes = b"", then: str = "", **members: Any) -> bytes:
    """A script that sends a request; the output is the reply, or what ``then`` returns."""
    written = Script()
    request = written.block(json.dumps({"url": url, **members}).encode())
    reply = written.add("http_request", request, written.block(body))
    if not then:
        return written.output(reply)
    result = written.add(then)
    return written.output(result) if then == "http_headers" else written.end()


async def test_http(server: Any) -> None:
    """A reply's body, status and headers are the guest's; the status is of this call only."""
    given = manifest(allowed_hosts=["127.0.0.*"])
    async with open_extism(given, http=LOCAL, size=1) as plugin:
        url = f"{server.url}/echo"
        sent = json.loads(
            await plugin.call(
                "run", fetches(url, method="post", headers={"X-A": "b"}, body=b"BODY")
            )
        )
        assert sent["method"] == "POST"
        status = await plugin.call("run", fetches(url, then="http_status_code"))
        assert results(status)[-1] == 200
        headers = json.loads(await plugin.call("run", fetches(url, then="http_headers")))
        assert "content-length" in headers
        assert results(await plugin.call("run", script(step("http_status_code")))) == (0,)


@pytest.mark.parametrize(
    ("hosts", "policy", "why"),
    [
        ([], LOCAL, "is not allowed"),
        (["127.0.0.1"], None, "is not allowed"),
        (["*.example.com", "?27"], LOCAL, "is not among the allowed ones"),
        (["*"], HttpPolicy(allow_private=True, allow_hosts=["a.com"]), "is not among the allowed"),
        (["*"], HttpPolicy(), "is not an address of the public internet"),
    ],
)
async def test_refused_hosts(
    server: Any, hosts: list[str], policy: HttpPolicy | None, why: str
) -> None:
    """A host has to be allowed by the manifest, by the policy, and by its address."""
    async with open_extism(manifest(allowed_hosts=hosts), http=policy) as plugin:
        with pytest.raises(ExtismError, match=why):
            await plugin.call("run", fetches(server.url))
        assert await plugin.call("echo", b"on") == b"on"


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (b"{", "not JSON"),
        (b"[]", "must be a JSON object with a url"),
        (b'{"url": 1}', "must be a JSON object with a url"),
        (b'{"url": "http://x", "extra": 1}', "unknown member 'extra'"),
        (b'{"url": "http://x", "method": "CONNECT"}', "cannot use the method"),
        (b'{"url": "http://x", "headers": {"a": "b\\nc"}}', "not allowed in HTTP"),
        (b"[" * 60_000, "not JSON"),
    ],
)
async def test_bad_requests(request_: bytes, why: str) -> None:
    """What is no request ends the call with the reason, whatever it is."""
    written = Script()
    if len(request_) < 1_000:
        written.add("http_request", written.block(request_), 0)
    else:
        written.add("http_request", written.add("input_offset"), 0)
    async with open_extism(manifest(allowed_hosts=["*"]), http=LOCAL) as plugin:
        input_ = written.end()
        with pytest.raises(ExtismError, match="bad request"):
            await plugin.call("run", input_)
        if len(request_) < 1_000:
            with pytest.raises(ExtismError, match=why):
                await plugin.call("run", input_)


async def test_a_reply_above_the_bound(server: Any) -> None:
    """``max_http_response_bytes`` bounds a reply, and so does the policy."""
    given = manifest(allowed_hosts=["*"], memory={"max_http_response_bytes": 10})
    async with open_extism(given, http=LOCAL) as plugin:
        with pytest.raises(ExtismError, match="10 bytes"):
            await plugin.call("run", fetches(f"{server.url}/echo"))


async def test_a_cancelled_request(server: Any, until: Until) -> None:
    """A cancel ends the request with the call, and the plugin serves on."""
    async with open_extism(manifest(allowed_hosts=["*"]), http=LOCAL, size=1) as plugin:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(plugin.call, "run", fetches(f"{server.url}/hang"))
            await until(lambda: server.waiting == 1)
            nursery.cancel_scope.cancel()
        assert await plugin.call("echo", b"on") == b"on"
        assert plugin.statistics().retired["cancelled"] == 1


# --- wrong handles ---

WILD = [64, 65, 128, 1 << 20, (1 << 32) + 64, (1 << 63) + 1, (1 << 64) - 1]
TAKING = ["config_get", "var_get", "var_set", "http_request", "log_error"]


@pytest.mark.parametrize("function", TAKING)
async def test_wild_offsets(function: str, caplog: pytest.LogCaptureFixture) -> None:
    """An offset where no block begins is a GuestMemoryError in that call; the pool serves on."""
    caplog.set_level("ERROR", "wasmpool.extism")
    async with open_extism(manifest(allowed_hosts=["*"]), http=LOCAL, size=1) as plugin:
        for offset in WILD:
            steps = [step("input_offset"), step("free", Result(0)), step(function, offset, 64)]
            with pytest.raises(GuestMemoryError, match=f"{function} was given the offset 0x"):
                await plugin.call("run", script(*steps))
        assert await plugin.call("echo", b"on") == b"on"
        assert plugin.statistics().retired["bad-pointer"] == len(WILD)


async def test_a_wild_second_offset() -> None:
    """The value of a variable and the body of a request are looked at in the same way."""
    async with open_extism(manifest(allowed_hosts=["*"]), http=LOCAL) as plugin:
        for function, name in (("var_set", b"n"), ("http_request", b'{"url": "http://x"}')):
            with pytest.raises(GuestMemoryError, match=f"{function} was given the offset 0x4d2"):
                await plugin.call("run", asks(function, name, 1234))


async def test_a_huge_name() -> None:
    """A name above 64 KiB is refused before it is read, and a value above the bound, too."""
    big = [step("alloc", 1 << 20), step("config_get", Result(0))]
    async with open_extism(guest(), limits=Limits(memory=64 << 20)) as plugin:
        with pytest.raises(GuestMemoryError, match="a block of 1,048,576 bytes, above 65,536"):
            await plugin.call("run", script(*big))
        written = Script()
        written.add("var_set", written.block(b"n"), written.add("alloc", 1 << 20))
        with pytest.raises(ExtismError, match="Variable store is full"):
            await plugin.call("run", written.end())


async def test_names_that_are_no_text() -> None:
    """The name of a variable that is no UTF-8 is refused, as in Extism."""
    async with open_extism(guest()) as plugin:
        with pytest.raises(ExtismError, match="the name is no UTF-8"):
            await plugin.call("run", asks("var_get", b"\xff"))


KERNELS = ["free", "length", "length_unsafe", "load_u8", "load_u64", "store_u8", "store_u64"]
KERNELS += ["input_load_u8", "input_load_u64", "input_set", "output_set", "error_set"]


@pytest.mark.parametrize("function", KERNELS)
async def test_wild_offsets_for_the_kernel(function: str) -> None:
    """They read as 0 and change nothing: neither the input, nor the output, nor the instance."""
    wild = [*WILD[3:], (1 << 64) - 8, 1 << 62]
    steps = [step(function, offset, size) for offset in wild for size in (1, 8, 1 << 40)]
    last = [step("input_offset"), step("input_length"), step("output_length"), step("error_get")]
    given = script(*steps, *last)
    async with open_extism(guest(), size=1) as plugin:
        found = results(await plugin.call("run", given))
        assert found == (*[0] * len(steps), 64, len(given), 0, 0)
        assert await plugin.call("echo", b"on") == b"on"
        assert plugin.statistics().started == 1


async def test_freed_blocks_and_long_regions() -> None:
    """A block that was freed has no length, and a region beyond all blocks is no output."""
    written = Script()
    block = written.add("alloc", 100)
    written.add("free", block)
    written.add("length", block)
    written.add("free", block)
    written.add("output_set", block, 1 << 20)
    written.add("output_length")
    async with open_extism(guest()) as plugin:
        found = results(await plugin.call("run", written.end()))
    assert found[2] == found[5] == 0
