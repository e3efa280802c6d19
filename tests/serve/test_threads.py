"""Several threads of one process that serve one address.

With the GIL they are only slow: so they are tried there, too, with the check for it switched off.
"""

from __future__ import annotations

import re
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.serve.http_client import call, get, initialize, one_session_of_each
from tests.serve.plugin_files import write_plugin
from tests.serve.server_process import forked_server

if TYPE_CHECKING:
    from pathlib import Path

SERVED = r"worker \d: info: serving \d+ tools? of \d+ plugins?"
TWO = ("--http", "127.0.0.1:0", "--threads", "2")
ALLOWED = "from wasmpool._serve import config_file; config_file.has_gil = lambda: False"


def test_two_threads_serve_as_one(tmp_path: Path) -> None:
    """Sessions are found by each, reports are those of both, and a signal ends both."""
    config = tmp_path / "serve.toml"
    config.write_text("[plugins.a]\nsource = 'a.wasm'\n")
    write_plugin(tmp_path / "a.wasm", "tool")
    with forked_server("--config", config, *TWO, before=ALLOWED) as server:
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
        up = families["wasmpool_serve_worker_up"].samples
        assert {(each.labels["worker"], each.value) for each in up} == {("1", 1), ("2", 1)}
        memory = families["process_resident_memory_bytes"].samples
        assert [each.labels["worker"] for each in memory] == ["1"]  # they are one process
        config.write_text("[plugins.b]\nsource = 'a.wasm'\nprefix = 'b_'\n")
        server.send_signal(signal.SIGHUP)
        server.logged("the configuration has been read again", count=2)
        with one_session_of_each(port) as sessions:
            for session in sessions.values():
                assert not session.call("b_tool", {})["isError"]
        assert server.stop() == 0
    assert not [line for line in server.log if "warning" in line or "error" in line]


@pytest.mark.parametrize("grace", [0, 30])
def test_calls_under_way_end_within_the_grace(tmp_path: Path, grace: int) -> None:
    """They are answered if it is long enough, and cancelled if not; in whichever thread."""
    config = tmp_path / "serve.toml"
    settings = f"[server]\ngrace = {grace}\n[plugins.slow]\nsource = 'slow.wasm'\n"
    config.write_text(settings)
    write_plugin(tmp_path / "slow.wasm", "nap", seconds=60 if grace == 0 else 1)
    with (
        forked_server("--config", config, *TWO, before=ALLOWED) as server,
        ThreadPoolExecutor(2) as pool,
    ):
        server.logged(SERVED, count=2)
        port = server.port
        napping = pool.submit(call, port, "nap", {}, **initialize(port))
        under_way = re.compile(r"wasmpool_serve_calls\S+ 1\.0")
        while not (napping.done() or under_way.search(get(port, "/metrics").text)):
            pass
        assert server.stop() == 0
        if grace == 0:
            assert napping.exception() is not None or napping.result()["isError"]
        else:
            assert not napping.result()["isError"]


def test_a_second_signal_ends_all_threads_at_once(tmp_path: Path) -> None:
    """With the status of the signal."""
    write_plugin(tmp_path / "slow.wasm", "nap", seconds=60)
    with forked_server(tmp_path, *TWO, before=ALLOWED) as server, ThreadPoolExecutor(1) as pool:
        server.logged(SERVED, count=2)
        port = server.port
        napping = pool.submit(call, port, "nap", {}, **initialize(port))
        while not re.search(r"wasmpool_serve_calls\S+ 1\.0", get(port, "/metrics").text):
            pass
        server.send_signal(signal.SIGTERM)
        server.logged("1 call under way")
        assert server.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        assert napping.exception() is not None


def test_a_thread_that_fails_is_replaced(tmp_path: Path) -> None:
    """The other one goes on meanwhile."""
    fails_once = (
        f"{ALLOWED}\nfrom wasmpool._serve import worker\n_open, _failed = worker.open_server, []\n"
        "def open_server(*args, **options):\n"
        "    if not _failed:\n"
        "        _failed.append(True)\n"
        "        raise ValueError('broken')\n"
        "    return _open(*args, **options)\n"
        "worker.open_server = open_server"
    )
    write_plugin(tmp_path / "a.wasm", "tool")
    with forked_server(tmp_path, *TWO, before=fails_once) as server:
        server.logged(r"worker \d: critical: unexpected: ValueError: broken")
        server.logged(r"worker \d has failed: it is replaced")
        server.logged(SERVED, count=2)
        with one_session_of_each(server.port):
            pass
        assert server.stop() == 0
