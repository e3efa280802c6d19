"""``wasmpool serve`` in one process: signals, changes of the configuration, and the routes."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tests.serve.held_replies import held_replies
from tests.serve.http_client import call, get, initialize, post
from tests.serve.plugin_files import write_plugin
from tests.serve.server_process import ServerProcess, forked_server

from wasmpool.example import PATH as EXAMPLE

if TYPE_CHECKING:
    from pathlib import Path

HTTP = ("--http", "127.0.0.1:0")


def say(server: ServerProcess, **message: Any) -> None:
    server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def hear(server: ServerProcess) -> Any:
    return json.loads(server.stdout.readline())


def greet(server: ServerProcess) -> None:
    """Open a session at the standard streams."""
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "0"},
    }
    say(server, id=0, method="initialize", params=params)
    assert hear(server)["result"]["serverInfo"]["name"] == "wasmpool"
    say(server, method="notifications/initialized")


def ask(server: ServerProcess, number: int, tool: str, **arguments: Any) -> None:
    say(server, id=number, method="tools/call", params={"name": tool, "arguments": arguments})


def test_the_example_at_the_standard_streams() -> None:
    """It is served without an argument; the end of the input is the end, with status 0."""
    with forked_server() as server:
        greet(server)
        say(server, id=1, method="tools/list")
        assert "word_count" in {tool["name"] for tool in hear(server)["result"]["tools"]}
        ask(server, 2, "word_count", text="one two")
        assert hear(server)["result"]["structuredContent"]["words"] == 2
        server.stdin.close()
        assert server.wait() == 0
        assert server.stdout.read() == b""
    assert server.log[-1] == "info: serving 10 tools of 1 plugin"


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A plugin whose tool `nap` takes a minute, and one whose tool `quick` takes no time."""
    write_plugin(tmp_path / "slow.wasm", "nap", seconds=60)
    write_plugin(tmp_path / "quick.wasm", "quick")
    return tmp_path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_at_once(number: int, slow: Path) -> None:
    """The first lets a call go on."""
    with forked_server(slow) as server:
        greet(server)
        ask(server, 1, "nap")
        ask(server, 2, "quick")
        assert hear(server)["id"] == 2
        server.send_signal(number)
        server.logged("1 call under way, with 30 s to end")
        ask(server, 3, "quick")
        assert hear(server)["result"]["isError"]
        assert server.stop(number) == 128 + number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_server_at_rest(number: int) -> None:
    """With status 0, and whatever it is connected by."""
    with forked_server() as server:
        greet(server)
        assert server.stop(number) == 0
    with forked_server(*HTTP) as server:
        assert get(server.port, "/healthz")[0] == 200
        assert server.stop(number) == 0


def test_no_call_is_cut_by_a_signal_under_load(tmp_path: Path) -> None:
    """Over HTTP: every call under way is answered when its guest is done, and then it ends."""
    config = tmp_path / "serve.toml"
    with held_replies() as held:
        config.write_text(fetching(held.url, size=16))
        with forked_server("--config", config, *HTTP) as server, ThreadPoolExecutor(24) as pool:
            port = server.port
            sessions = [initialize(port) for _ in range(24)]
            calls = [pool.submit(call, port, "fetch", {"path": "/"}, **each) for each in sessions]
            held.wait_for(16)
            while "wasmpool_serve_calls 24.0" not in get(port, "/metrics").text:
                pass
            server.send_signal(signal.SIGTERM)
            server.logged("24 calls under way, with 30 s to end")
            held.go.set()
            assert [each.result()["isError"] for each in calls] == [False] * 24
            assert server.wait() == 0


def fetching(url: str, size: int) -> str:
    """The configuration of the example, with what its tool `fetch` needs."""
    return (
        f"[plugins.example]\nsource = '{EXAMPLE}'\nsize = {size}\n"
        "allow_hosts = ['127.0.0.1']\nallow_private = true\n"
        f"credentials = {{ base_url = '{url}', api_key = 'x' }}\n"
    )


def test_the_grace_cuts_what_does_not_end(slow: Path) -> None:
    """The call is answered by an error, and the status is 0 all the same."""
    config = slow / "serve.toml"
    config.write_text("[server]\ngrace = 0.1\ndirectories = ['.']\n")
    with forked_server("--config", config) as server:
        greet(server)
        ask(server, 1, "nap")
        ask(server, 2, "quick")
        assert hear(server)["id"] == 2
        server.send_signal(signal.SIGTERM)
        assert hear(server)["result"]["isError"]
        assert server.wait() == 0


def test_a_signal_while_plugins_are_loaded_ends_the_server(tmp_path: Path) -> None:
    """Nothing waits for a file that does not become complete."""
    (tmp_path / "a.wasm").write_bytes(b"\0asm")
    config = tmp_path / "serve.toml"
    config.write_text("[plugins.a]\nsource = 'a.wasm'\n")
    stop = threading.Event()

    def keep_writing() -> None:
        while not stop.wait(0.01):
            (tmp_path / "a.wasm").write_bytes(os.urandom(32))

    writing = threading.Thread(target=keep_writing)
    writing.start()
    try:
        with forked_server("--config", config, *HTTP) as server:
            server.logged("listening at")
            assert server.stop() == 0
    finally:
        stop.set()
        writing.join()


def test_what_fails_is_told_and_comes_back(tmp_path: Path) -> None:
    """The others serve meanwhile; no error is hidden, and none has a secret."""
    config = tmp_path / "serve.toml"
    config.write_text(
        "[server]\ntoken = 'env:SERVE_TOKEN'\n"
        "[plugins.good]\nsource = 'good.wasm'\n"
        "[plugins.broken]\nsource = 'broken.wasm'\n"
        f"[plugins.other]\nsource = 'other.wasm'\nsha256 = '{'0' * 64}'\n"
        "[plugins.missing]\nsource = 'missing.wasm'\n"
        "[plugins.twice]\nsource = 'twice.wasm'\ncredentials = { key = 'env:SERVE_TOKEN' }\n"
    )
    write_plugin(tmp_path / "good.wasm", "tool")
    write_plugin(tmp_path / "other.wasm", "another_tool")
    write_plugin(tmp_path / "twice.wasm", "tool")
    (tmp_path / "broken.wasm").write_bytes(b"no module")
    token = "very-s3cret"  # noqa: S105 - of a test
    bearer = {"Authorization": f"Bearer {token}"}
    with forked_server("--config", config, *HTTP, env={"SERVE_TOKEN": token}) as server:
        port = server.port
        for path in ("/readyz", "/healthz", "/metrics", "/", "/mcp"):
            assert get(port, path).status == 401
        assert get(port, "/healthz", **bearer).status == 200
        password = b64encode(f"anyone:{token}".encode()).decode()
        for path in ("/", "/readyz"):  # a browser cannot send a bearer token
            assert "Basic" in str(get(port, path).headers)
            assert get(port, path, Authorization=f"Basic {password}").status in {200, 503}
            wrong_password = b64encode(b"anyone:no").decode()
            assert get(port, path, Authorization=f"Basic {wrong_password}").status == 401
        assert get(port, "/mcp", Authorization=f"Basic {password}").status == 401
        assert "Basic" not in str(get(port, "/mcp").headers)
        ready = get(port, "/readyz", **bearer)
        assert ready.status == 503
        wrong = ready.json["wrong"]
        assert {name: each["error"].partition(":")[0] for name, each in wrong.items()} == {
            "broken": "CompileError",
            "other": "DigestError",
            "missing": "FileNotFoundError",
            "twice": "NameTaken",
        }
        session = initialize(port, **bearer)
        assert not call(port, "tool", {}, **session)["isError"]
        metrics = get(port, "/metrics", **bearer).text
        assert len(re.findall(r"^wasmpool_plugin_failed\{.*\} 1.0$", metrics, re.MULTILINE)) == 4

        write_plugin(tmp_path / "broken.wasm", "mended")
        write_plugin(tmp_path / "missing.wasm", "found")
        write_plugin(tmp_path / "twice.wasm", "single")
        for name in ("broken", "missing", "twice"):
            server.logged(f"plugin '{name}' is loaded")
        for name in ("mended", "found", "single"):
            assert not call(port, name, {}, **session)["isError"]
        ready = get(port, "/readyz", **bearer)
        assert (ready.status, list(ready.json["wrong"])) == (503, ["other"])
        said = [ready.text, metrics, *server.log]
        assert server.stop() == 0
    assert token not in "\n".join(said)


def test_a_hangup_reads_the_configuration_again(tmp_path: Path) -> None:
    """What is new, changed or gone is; a broken file changes nothing, and is logged."""
    config = tmp_path / "serve.toml"
    for name in ("a", "b", "c"):
        write_plugin(tmp_path / f"{name}.wasm", name)
    base = "[plugins.a]\nsource = 'a.wasm'\n[plugins.b]\nsource = 'b.wasm'\n"
    config.write_text(base)
    with forked_server("--config", config, *HTTP) as server:
        port = server.port
        session = initialize(port)

        def tools() -> set[str]:
            reply = post(port, {"id": 1, "method": "tools/list"}, **session)
            return {tool["name"] for tool in reply.json["result"]["tools"]}

        assert tools() == {"a", "b"}
        config.write_text(f"{base}sze = 1\n")
        server.send_signal(signal.SIGHUP)
        server.logged(r"error: the configuration stays as it is: serve.toml: plugins.b.sze: there")
        assert tools() == {"a", "b"}
        config.write_text(
            "[plugins.a]\nsource = 'a.wasm'\nprefix = 'x_'\n[plugins.c]\nsource = 'c.wasm'\n"
            "[server]\ntools = 'search'\n[scripts]\ncalls = 7\n"
        )
        server.send_signal(signal.SIGHUP)
        server.logged("the configuration has been read again")
        assert tools() == {"x_a", "c"}
        changed = "server.tools and scripts changed, which needs a restart"
        assert any(changed in line for line in server.log)
        assert any("plugin 'b' is unloaded" in line for line in server.log)
        assert server.stop() == 0


def test_the_defaults_of_a_directory_can_change(tmp_path: Path) -> None:
    """Its plugins get them at the next hangup, though their files are the same."""
    config, plugins = tmp_path / "serve.toml", tmp_path / "plugins"
    plugins.mkdir()
    write_plugin(plugins / "a.wasm", "a")
    base = "[server]\ndirectories = ['plugins']\n[defaults]\nsize = "
    config.write_text(f"{base}3\n")
    with forked_server("--config", config, *HTTP) as server:
        port = server.port
        assert 'wasmpool_size{pool="a"} 3.0' in get(port, "/metrics").text
        config.write_text(f"{base}5\n")
        server.send_signal(signal.SIGHUP)
        server.logged("the configuration has been read again")
        assert 'wasmpool_size{pool="a"} 5.0' in get(port, "/metrics").text
        assert not call(port, "a", {}, **initialize(port))["isError"]
        assert server.stop() == 0


def test_a_log_that_nobody_reads_holds_up_nothing(tmp_path: Path) -> None:
    """Lines are lost, calls are not."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while os.write(writing, b"x" * 4096):
            pass
    except BlockingIOError:
        pass
    os.set_blocking(writing, True)
    with forked_server(stderr=writing) as server:
        greet(server)
        ask(server, 1, "echo", message="hello")
        assert not hear(server)["result"]["isError"]
        server.stdin.close()
        assert server.wait() == 0
    os.close(writing)
    os.close(reading)
