"""Several processes that serve one address."""

from __future__ import annotations

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from mcp import Client
from mcp_types import ToolListChangedNotification
from prometheus_client.parser import text_string_to_metric_families
from tests.serve.held_replies import held_replies
from tests.serve.http_client import call, get, initialize, one_session_of_each, post
from tests.serve.plugin_files import write_plugin
from tests.serve.server_process import SECONDS, forked_server, wait_until_gone

from wasmpool.example import PATH as EXAMPLE

if TYPE_CHECKING:
    from tests.serve.server_process import ServerProcess

SERVED = r"worker \d: info: serving \d+ tools? of \d+ plugins?"
TWO = ("--http", "127.0.0.1:0", "--workers", "2")


def children(pid: int) -> list[int]:
    """The processes that any thread of a process has started."""
    lists = [
        path.read_text(encoding="ascii") for path in Path("/proc").glob(f"{pid}/task/*/children")
    ]
    return sorted(int(child) for each in lists for child in each.split())


def workers_of(server: ServerProcess) -> dict[str, int]:
    """The processes by the numbers of the workers, which are in their command lines."""
    found: dict[str, int] = {}
    for pid in children(server.pid):
        arguments = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")
        found[arguments[5]] = pid
    return found


def test_two_workers_serve_as_one(tmp_path: Path) -> None:
    """Sessions are found by each, reports are those of all, and a signal ends both."""
    config = tmp_path / "serve.toml"
    config.write_text("[plugins.a]\nsource = 'a.wasm'\n")
    write_plugin(tmp_path / "a.wasm", "tool")
    with forked_server("--config", config, *TWO) as server:
        server.logged(SERVED, count=2)
        port = server.port
        with one_session_of_each(port) as sessions:
            for session in sessions.values():
                for _ in range(8):  # each on a connection of its own, which either worker accepts
                    assert not call(port, "tool", {}, **session.headers)["isError"]
        ready = get(port, "/readyz")
        assert (ready.status, set(ready.json["workers"])) == (200, {"1", "2"})
        families = {
            family.name: family
            for family in text_string_to_metric_families(get(port, "/metrics").text)
        }
        calls = families["wasmpool_serve_worker_up"].samples
        assert {(each.labels["worker"], each.value) for each in calls} == {("1", 1), ("2", 1)}
        config.write_text("[plugins.b]\nsource = 'a.wasm'\nprefix = 'b_'\n")
        server.send_signal(signal.SIGHUP)
        server.logged("the configuration has been read again", count=2)
        with one_session_of_each(port) as sessions:
            for session in sessions.values():
                assert not session.call("b_tool", {})["isError"]
        workers = children(server.pid)
        assert len(workers) == 2
        assert server.stop() == 0
        for pid in workers:
            wait_until_gone(pid)


@pytest.mark.slow
def test_a_killed_worker_costs_its_own_requests(tmp_path: Path) -> None:
    """The calls of the other one are answered, and it is replaced."""
    config = tmp_path / "serve.toml"
    with held_replies() as held:
        config.write_text(
            f"[plugins.example]\nsource = '{EXAMPLE}'\nallow_hosts = ['127.0.0.1']\n"
            f"allow_private = true\ncredentials = {{ base_url = '{held.url}', api_key = 'x' }}\n"
        )
        with forked_server("--config", config, *TWO) as server, ThreadPoolExecutor(8) as pool:
            server.logged(SERVED, count=2)
            port = server.port
            with one_session_of_each(port) as sessions:
                calls = {
                    number: pool.submit(session.call, "fetch", {"path": "/"})
                    for number, session in sessions.items()
                }
                held.wait_for(2)
                os.kill(workers_of(server)["1"], signal.SIGKILL)
                with pytest.raises((OSError, HTTPException)):
                    calls["1"].result()
                held.go.set()
                assert not calls["2"].result()["isError"]
                server.logged("worker 1 was ended by SIGKILL: it is replaced")
                server.logged(SERVED, count=3)
                # Its sessions are gone, which tells clients to open another one.
                assert (
                    post(port, {"id": 1, "method": "ping"}, **sessions["1"].headers).status == 404
                )
                assert not call(port, "echo", {"message": "x"}, **sessions["2"].headers)["isError"]
            with one_session_of_each(port):
                pass
            assert server.stop() == 0


@pytest.mark.slow
def test_no_worker_survives_the_supervisor(tmp_path: Path) -> None:
    """Not even if it is killed, in the middle of a call."""
    write_plugin(tmp_path / "slow.wasm", "nap", seconds=60)
    with forked_server(tmp_path, *TWO) as server, ThreadPoolExecutor(2) as pool:
        server.logged(SERVED, count=2)
        port, workers = server.port, children(server.pid)
        assert len(workers) == 2
        session = initialize(port)
        napping = pool.submit(call, port, "nap", {}, **session)
        while not re.search(r"wasmpool_serve_calls\S+ 1\.0", get(port, "/metrics").text):
            pass
        server.send_signal(signal.SIGKILL)
        for pid in workers:
            wait_until_gone(pid)
        assert napping.exception() is not None


@pytest.mark.slow
def test_a_second_signal_ends_all_workers_at_once(tmp_path: Path) -> None:
    """With the status of the signal."""
    write_plugin(tmp_path / "slow.wasm", "nap", seconds=60)
    with forked_server(tmp_path, *TWO) as server, ThreadPoolExecutor(1) as pool:
        server.logged(SERVED, count=2)
        port, workers = server.port, children(server.pid)
        assert len(workers) == 2
        napping = pool.submit(call, port, "nap", {}, **initialize(port))
        while not re.search(r"wasmpool_serve_calls\S+ 1\.0", get(port, "/metrics").text):
            pass
        server.send_signal(signal.SIGTERM)
        server.logged("1 call under way")
        assert server.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        for pid in workers:
            wait_until_gone(pid)
        assert napping.exception() is not None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Async generator .http(x|core)2:ResourceWarning")
async def test_a_client_hears_of_changes_whichever_worker_it_talks_to(tmp_path: Path) -> None:
    """The official client with a handshake: its stream and its requests are of one session."""
    write_plugin(tmp_path / "a.wasm", "one")
    heard = trio.Event()

    async def hear(message: object) -> None:
        await trio.lowlevel.checkpoint()
        if isinstance(message, ToolListChangedNotification):
            heard.set()

    with forked_server(tmp_path, *TWO) as server:
        await trio.to_thread.run_sync(lambda: server.logged(SERVED, count=2))
        url = f"{server.address}/mcp"
        async with Client(url, mode="legacy", message_handler=hear) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["one"]
            write_plugin(tmp_path / "b.wasm", "two")
            with trio.fail_after(SECONDS):
                await heard.wait()
            assert [tool.name for tool in (await client.list_tools()).tools] == ["one", "two"]
        assert server.stop() == 0


@pytest.mark.slow
def test_a_worker_that_does_not_read_holds_up_no_other(tmp_path: Path) -> None:
    """Its channel is full: the others do what they are told, and a signal ends all."""
    config = tmp_path / "serve.toml"
    settings = f"[server]\ngrace = 0\n[plugins.example]\nsource = '{EXAMPLE}'\n"
    config.write_text(settings)
    with forked_server("--config", config, *TWO) as server:
        server.logged(SERVED, count=2)
        port, workers = server.port, workers_of(server)
        os.kill(workers["2"], signal.SIGSTOP)
        config.write_text(settings + "#" * 900_000)
        server.send_signal(signal.SIGHUP)
        server.logged("worker 1: info: the configuration has been read again")
        up = re.compile(r'worker_up\{worker="(\d)"\} (\d)')
        assert up.findall(get(port, "/metrics").text) == [("1", "1"), ("2", "0")]
        assert server.stop() == 0
        for pid in workers.values():
            wait_until_gone(pid)
