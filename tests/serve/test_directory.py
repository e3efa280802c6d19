"""A directory of many plugins, some of which have something wrong with them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.serve.http_client import call, get, initialize, post
from tests.serve.plugin_files import write_plugin
from tests.serve.server_process import forked_server

from wasmpool.example import PATH as EXAMPLE

if TYPE_CHECKING:
    from pathlib import Path

TOOLS = 82  # of each of six plugins, and eight of others: 500


def test_eight_plugins_with_500_tools(tmp_path: Path) -> None:
    """One is broken, one asks for a host it may not reach, two have the same tool; all mend."""
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    for number in range(6):
        write_plugin(
            plugins / f"p{number}.wasm", *(f"p{number}_tool{tool}" for tool in range(TOOLS))
        )
    (plugins / "broken.wasm").write_bytes(b"\0asm half of it")
    config = tmp_path / "serve.toml"
    config.write_text(
        "[server]\ndirectories = ['plugins']\n"
        f"[plugins.example]\nsource = '{EXAMPLE}'\n"
        "credentials = { base_url = 'http://refused.example', api_key = 'k-123' }\n"
    )
    with forked_server("--config", config, "--http", "127.0.0.1:0") as server:
        port = server.port
        session = initialize(port)
        assert len(tools(port, session)) == 6 * TOOLS + 10
        refused = call(port, "fetch", {"path": "/"}, **session)
        assert "forbidden by policy: this plugin may reach no host" in json.dumps(refused)
        # A plugin with a tool of another one comes while the others serve.
        write_plugin(plugins / "twin.wasm", "p3_tool7", "twin_tool")
        server.logged(r"plugin 'twin' is not loaded: NameTaken: .*'p3_tool7'.* 'p3'")
        wrong = get(port, "/readyz")
        assert wrong.status == 503
        assert {
            name: each["error"].partition(":")[0] for name, each in wrong.json["wrong"].items()
        } == {
            "broken": "CompileError",
            "twin": "NameTaken",
        }
        for name in ("p0_tool0", "p3_tool7", "p5_tool81"):
            assert not call(port, name, {}, **session)["isError"]
        # Mended files come back by themselves.
        write_plugin(plugins / "broken.wasm", "mended")
        write_plugin(plugins / "twin.wasm", "twin_tool")
        server.logged("plugin 'broken' is loaded")
        server.logged("plugin 'twin' is loaded")
        assert get(port, "/readyz").status == 200
        assert {"mended", "twin_tool"} <= tools(port, session)
        assert server.stop() == 0
    assert "k-123" not in "\n".join([*server.log, wrong.text, json.dumps(refused)])


def tools(port: int, session: dict[str, str]) -> set[str]:
    """The names of all tools, page by page."""
    names: set[str] = set()
    params: dict[str, Any] = {}
    while True:
        message = {"id": 1, "method": "tools/list", "params": params}
        result = post(port, message, **session).json["result"]
        names |= {tool["name"] for tool in result["tools"]}
        if "nextCursor" not in result:
            return names
        params = {"cursor": result["nextCursor"]}
