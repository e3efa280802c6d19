"""What a manifest says is honoured; what it asks for in vain is refused by name."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
import wasmtime
from tests.extism.script_guest import guest, results, script, step

from wasmpool import (
    DigestError,
    ExtismError,
    GuestMemoryError,
    Limits,
    LinkError,
    Wasi,
    open_extism,
)
from wasmpool._extism.hosts import lists_of
from wasmpool._extism.manifest import read_manifest

if TYPE_CHECKING:
    from pathlib import Path

MODULE = bytes(wasmtime.wat2wasm(guest()))
ENTRY = {"data": base64.b64encode(MODULE).decode()}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with a module and manifests of it."""
    (tmp_path / "echo.wasm").write_bytes(MODULE)
    (tmp_path / "echo.wat").write_text(guest())
    path = str(tmp_path / "echo.wasm")
    (tmp_path / "a.json").write_text(json.dumps({"wasm": [{"path": path}]}))
    (tmp_path / "a.toml").write_text(f"[[wasm]]\npath = {path!r}\nname = 'main'\n")
    return tmp_path


@pytest.mark.parametrize("name", ["echo.wasm", "echo.wat", "a.json", "a.toml"])
async def test_files(files: Path, name: str) -> None:
    """A module as a binary or as text, and a manifest in JSON or TOML; as a path or a str."""
    for path in (files / name, str(files / name)):
        async with open_extism(path) as plugin:
            assert await plugin.call("echo", b"x") == b"x"
            assert plugin.name == ("main" if name == "a.toml" else "echo")


@pytest.mark.parametrize(
    "source",
    [
        MODULE,
        guest(),
        guest().encode(),
        {"wasm": [ENTRY]},
        {"wasm": [{"data": MODULE, "name": "main"}]},
        json.dumps({"wasm": [ENTRY]}),
        json.dumps({"wasm": [ENTRY]}).encode(),
        {"wasm": [{**ENTRY, "hash": hashlib.sha256(MODULE).hexdigest().upper()}]},
    ],
)
async def test_content(source: Any) -> None:
    """The content of a file, and a manifest as a mapping."""
    async with open_extism(source) as plugin:
        assert await plugin.call("echo", b"x") == b"x"


async def test_another_hash(files: Path) -> None:
    """A module with another digest than its manifest says is refused."""
    given = {"wasm": [{"path": files / "echo.wasm", "hash": "0" * 64}]}
    with pytest.raises(DigestError, match=r"echo\.wasm' has the SHA-256"):
        async with open_extism(given):
            pass


REFUSED = [
    ({}, "wasm must be a list of modules, not None"),
    ({"wasm": []}, "wasm must be a list of modules"),
    ({"wasm": [3]}, "a module of the manifest's wasm must be an object, not 3"),
    ({"wasm": [ENTRY, ENTRY, ENTRY]}, "has two modules that are named 'main'"),
    ({"wasm": [{**ENTRY, "name": "a"}] * 3}, "has two modules that are named 'a'"),
    ({"wasm": [ENTRY] * 17}, "has 17 modules, above 16"),
    ({"wasm": [{"url": "https://x/y"}]}, "the url 'https://x/y': this host fetches no modules"),
    ({"wasm": [{}]}, "must have either path or data"),
    ({"wasm": [{"path": "x", "data": ""}]}, "must have either path or data"),
    ({"wasm": [{**ENTRY, "size": 1}]}, "has a member 'size', which is none of path, data, hash"),
    ({"wasm": [{"path": 1}]}, "the path of a module must be a string, not 1"),
    ({"wasm": [{"data": "%"}]}, "the data of a module is no base64"),
    ({"wasm": [{"data": 1}]}, "the data of a module must be base64"),
    ({"wasm": [{**ENTRY, "hash": "12"}]}, "must have 64 hexadecimal digits, not be '12'"),
    ({"wasm": [{**ENTRY, "name": 1}]}, "the name of a module must be a string"),
    ({"wasm": [ENTRY], "wasi": True}, "the manifest has a member 'wasi', which is none of wasm"),
    ({"wasm": [ENTRY], "memory": []}, "memory must be an object, not "),
    ({"wasm": [ENTRY], "memory": {"max": 1}}, "memory has a member 'max'"),
    ({"wasm": [ENTRY], "memory": {"max_pages": 0}}, "max_pages must be a number from 1 to 65,536"),
    ({"wasm": [ENTRY], "memory": {"max_var_bytes": -1}}, "max_var_bytes must be a number from 0"),
    ({"wasm": [ENTRY], "timeout_ms": 0}, "timeout_ms must be a number from 1, not 0"),
    ({"wasm": [ENTRY], "timeout_ms": True}, "timeout_ms must be a number from 1, not True"),
    ({"wasm": [ENTRY], "config": {"a": 1}}, "the manifest's config must be strings by name"),
    ({"wasm": [ENTRY], "config": {"a": "\ud800"}}, "'a' or its value has no form in UTF-8"),
    ({"wasm": [ENTRY], "config": 1}, "the manifest's config must be an object"),
    ({"wasm": [ENTRY], "allowed_hosts": "x"}, "allowed_hosts must be a list of strings"),
    ({"wasm": [ENTRY], "allowed_hosts": ["x" * 254]}, "at most 253 characters"),
]


@pytest.mark.parametrize(("given", "why"), REFUSED)
def test_what_is_refused(given: Any, why: str) -> None:
    """The message names the member, and what is wrong about it."""
    with pytest.raises(ValueError, match=why):
        open_extism(given)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{", "the manifest is no JSON"),
        (b"a = [", "the manifest is neither JSON nor TOML"),
        (b"\xff\xfe", "neither a module nor a manifest"),
        ("{" * 100_000, "the manifest is no JSON"),
        (b"a = " + b"[" * 100_000, "the manifest is neither JSON nor TOML"),
    ],
)
def test_what_is_no_manifest(source: Any, why: str) -> None:
    """What cannot be parsed says so."""
    with pytest.raises(ValueError, match=why):
        open_extism(source)


async def test_a_broken_file(tmp_path: Path) -> None:
    """A file with a broken manifest is named; so is what is no regular file."""
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match=r"a\.json': the manifest's wasm must be a list"):
        async with open_extism(tmp_path / "a.json"):
            pass
    (tmp_path / "b.json").mkdir()
    with pytest.raises(OSError, match=r"b\.json"):
        async with open_extism(tmp_path / "b.json"):
            pass


@pytest.mark.parametrize(
    ("arguments", "error", "why"),
    [
        ({"config": 3}, TypeError, "config must be a mapping of strings, not int"),
        ({"config": {"a": 3}}, TypeError, "config must have strings, or None"),
        ({"config": {"a": "\ud800"}}, ValueError, "'a' or its value has no form in UTF-8"),
        ({"functions": [print]}, TypeError, "functions are made by @host_function"),
        ({"functions": print}, TypeError, "functions are made by @host_function"),
        ({"setup": print}, TypeError, "open_extism takes no setup"),
        ({"credentials": {}}, TypeError, "open_extism has no option 'credentials'"),
        ({"name": "a\n"}, ValueError, "name must have no control characters"),
        ({"size": 0}, ValueError, "size"),
        ({"http": "x"}, TypeError, "http must be an HttpPolicy"),
    ],
)
def test_wrong_arguments(arguments: Any, error: type[Exception], why: str) -> None:
    """At the call, before anything is read."""
    with pytest.raises(error, match=why):
        open_extism(guest(), **arguments)


async def test_the_pages_of_a_guest() -> None:
    """``max_pages`` bounds the memory of the guest, which starts with 4 pages here."""
    given = {"wasm": [ENTRY], "memory": {"max_pages": 3}}
    with pytest.raises(GuestMemoryError, match="starts with 262,144 bytes"):
        async with open_extism(given):
            pass
    grows = guest().replace(
        '(func (export "takes")',
        """(func (export "grow") (result i32)
        (memory.grow (i32.const 2))) (func (export "takes")""",
    )
    for pages, result in ((5, -1), (6, 4)):
        given = {"wasm": [{"data": grows.encode()}], "memory": {"max_pages": pages}}
        async with open_extism(given) as plugin:
            with pytest.raises(ExtismError) as raised:
                await plugin.call("grow")
            assert raised.value.status == result


async def test_memory_is_bounded_together() -> None:
    """Guest and kernel stay within ``limits.memory``, and both count in ``max_memory``."""
    allocates = script(*[step("alloc", 65_000) for _ in range(100)], step("return", 0))
    counts = script(*[step("alloc", 65_000) for _ in range(100)])
    async with open_extism(guest(), limits=Limits(memory=4 << 20)) as plugin:
        blocks = [each for each in results(await plugin.call("run", counts)) if each]
        assert 10 <= len(blocks) <= (4 << 20) // 5 // 65_000
    async with open_extism(guest(), size=1, max_memory=1 << 20) as plugin:
        await plugin.call("run", allocates)
        assert plugin.statistics().retired["memory"] == 1
        found = results(await plugin.call("run", script(step("memory_bytes"))))
        assert found == (1 << 16,)


async def test_variables_are_bounded_by_the_limits() -> None:
    """They are in the host's memory, so that a manifest alone does not say how many there are."""
    limits = Limits(memory=8 << 20)
    given = {"wasm": [ENTRY], "memory": {"max_var_bytes": 8 << 20}}
    async with open_extism(given, limits=limits):
        pass
    given["memory"] = {"max_var_bytes": (8 << 20) + 1}
    with pytest.raises(ValueError, match=r"max_var_bytes is 8,388,609, above limits\.memory=8,388"):
        async with open_extism(given, limits=limits):
            pass


async def test_directories(tmp_path: Path) -> None:
    """``allowed_paths`` needs ``wasi``; then it adds to the directories that are given there."""
    given = {"wasm": [ENTRY], "allowed_paths": {str(tmp_path): "/rw", f"ro:{tmp_path}": "/ro"}}
    with pytest.raises(ValueError, match="allowed_paths: open the plugin with wasi"):
        async with open_extism(given):
            pass
    async with open_extism(given, wasi=Wasi(preopens={"/own": tmp_path})) as plugin:
        preopens = plugin._revision.module.wasi.preopens
        writable = {guest: preopen.writable for guest, preopen in preopens.items()}
        assert writable == {"/rw": True, "/ro": False, "/own": False}


async def test_unknown_imports() -> None:
    """What nobody provides is named, with what is near; the kernel's memories are no imports."""
    for import_ in ('"allok" (func (param i64) (result i64))', '"memory" (memory 1)'):
        with pytest.raises(LinkError, match="imports what nobody provides") as raised:
            async with open_extism(f'(module (import "extism:host/env" {import_}))'):
                pass
        if "allok" in import_:
            assert "there is extism:host/env.alloc" in str(raised.value)
    for name in ("begin", "state"):
        with pytest.raises(LinkError, match=f"extism:host/env.{name}"):
            async with open_extism(
                f'(module (import "extism:host/env" "{name}" (func (param i64) (result i64))))'
            ):
                pass


@pytest.mark.parametrize(
    ("pattern", "host", "matches"),
    [
        ("example.com", "example.com", True),
        ("Example.COM", "example.com", True),
        ("example.com", "a.example.com", False),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*", "anything", True),
        ("a?.com", "ab.com", True),
        ("[ab].com", "b.com", True),
        ("[!ab].com", "b.com", False),
        ("a.com", "axcom", False),
        ("*" * 200 + "b", "a" * 250, False),
    ],
)
def test_patterns_of_hosts(pattern: str, host: str, matches: bool) -> None:
    """Patterns are Extism's: ``*`` matches dots, too."""
    assert lists_of([pattern])(host) is matches


def test_defaults() -> None:
    """A manifest with nothing but a module has Extism's defaults."""
    manifest = read_manifest({"wasm": [ENTRY], "memory": None, "allowed_hosts": None})
    assert manifest.max_var_bytes == 1 << 20
    assert manifest.allowed_hosts == ()
    assert manifest.timeout is None
    assert "data" not in repr(manifest)
