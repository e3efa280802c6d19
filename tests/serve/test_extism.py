"""``wasmpool serve`` with Extism plugins: their exports are tools."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.compiled_once import each_module_compiled_once
from tests.extism.tool_guest import write_guest, write_manifest

from wasmpool._serve.config_file import Arguments, build_config
from wasmpool._serve.server import open_server

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from wasmpool._serve.config import Config

TABLES = """
[server]
directories = ["directory"]

[defaults]
size = 2

[plugins.plain]
source = "plain.wasm"
tools = ["echo", "setting"]
prefix = "plain_"
credentials = { key = "env:WASMPOOL_TEST_KEY" }

[plugins.made]
source = "made.json"
prefix = "made_"
limits = { call_seconds = 5 }
"""


@pytest.fixture(autouse=True, scope="module")
def compiled_once() -> Generator[None]:
    with each_module_compiled_once():
        yield


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("WASMPOOL_TEST_KEY", "s3cret")
    (tmp_path / "directory").mkdir()
    write_guest(tmp_path / "directory" / "found.wasm", "found")
    plain = write_guest(tmp_path / "plain.wasm")
    write_manifest(tmp_path / "made.json", plain, config={"key": "of the manifest"})
    file = tmp_path / "serve.toml"
    return build_config(Arguments(file=str(file)), TABLES.encode())


async def test_extism_plugins_are_served(config: Config) -> None:
    """Modules and manifests, of tables and of a directory; with prefix, patterns, credentials."""
    async with open_server(config) as server:
        await server.load()
        catalog = server._endpoint.catalog
        assert {"plain_echo", "plain_setting", "made_echo", "version"} <= catalog.tools.keys()
        assert "plain_version" not in catalog.tools
        answers = [
            await catalog.call(tool, {"input": "key"})
            for tool in ("plain_echo", "plain_setting", "made_setting", "version")
        ]
        assert [each.data for each in answers] == ["key", "s3cret", "of the manifest", "found"]
        report = await server.report("readiness")
        assert report["ready"] is True
        assert "made" in await server.report("metrics")


async def test_a_manifest_that_is_wrong_leaves_the_others_serving(
    config: Config, tmp_path: Path
) -> None:
    """And the report says what is wrong with it."""
    write_manifest(tmp_path / "made.json", tmp_path / "plain.wasm", allowed_host=[])
    async with open_server(config) as server:
        await server.load()
        assert "plain_echo" in server._endpoint.catalog.tools
        report = json.dumps(await server.report("readiness"))
        assert "a member 'allowed_host'" in report
