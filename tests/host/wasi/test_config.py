# ruff: noqa: PTH109, PTH118  # what the system does is said in its own words

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from wasmpool_host._wasi import Preopen, Wasi

if TYPE_CHECKING:
    from pathlib import Path


def test_everything_is_shut_by_default() -> None:
    """By default a guest can see nothing, and its output goes to the log."""
    wasi = Wasi()
    assert (wasi.args, dict(wasi.env), wasi.stdin, dict(wasi.preopens)) == ((), {}, b"", {})
    assert (wasi.stdout, wasi.stderr) == ("log", "log")


def test_equal_options_are_equal_and_hash_alike(tmp_path: Path) -> None:
    """So a reload can find out that nothing changes for the guest."""
    options = {"args": ["a"], "env": {"A": "1"}, "preopens": {"/": tmp_path}, "stdout": print}
    first, second = Wasi(**options), Wasi(**options)  # type: ignore[arg-type]
    assert first == second
    assert hash(first) == hash(second)
    assert first != Wasi(**{**options, "env": {"A": "2"}})  # type: ignore[arg-type]
    writable = {"/": Preopen(tmp_path, writable=True)}
    assert first != Wasi(**{**options, "preopens": writable})  # type: ignore[arg-type]


def test_order_counts_as_the_guest_sees_it() -> None:
    """The same variables in another order are another environment."""
    assert Wasi(env={"A": "1", "B": "2"}) != Wasi(env={"B": "2", "A": "1"})


def test_later_changes_of_the_given_options_have_no_effect() -> None:
    """The options are copied, and read-only."""
    env = {"A": "1"}
    wasi = Wasi(env=env)
    env["B"] = "2"
    assert dict(wasi.env) == {"A": "1"}
    with pytest.raises(TypeError):
        wasi.env["B"] = "2"  # type: ignore[index]


def test_a_plain_path_is_read_only(tmp_path: Path) -> None:
    """Writing must be asked for."""
    wasi = Wasi(preopens={"/a": tmp_path, "/b": str(tmp_path)})
    assert wasi.preopens["/a"] == wasi.preopens["/b"] == Preopen(tmp_path)
    assert not wasi.preopens["/a"].writable


def test_a_path_is_absolute_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changing the process's directory later changes nothing."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Preopen("data").path == os.path.join(os.getcwd(), "data")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"args": "one"}, TypeError, r"Wasi\(args\).*'one'"),
        ({"args": None}, TypeError, r"Wasi\(args\).*None"),
        ({"env": ["A=1"]}, TypeError, r"Wasi\(env\).*'A=1'"),
        ({"preopens": "/"}, TypeError, r"Wasi\(preopens\).*'/'"),
        ({"preopens": {"/": 3}}, TypeError, r"Preopen\(path\).*3"),
        ({"args": [1]}, TypeError, r"Wasi\(args\[0\]\).*1"),
        ({"args": ["a", "b\0"]}, ValueError, r"Wasi\(args\[1\]\).*NUL.*b\\x00"),
        ({"args": ["\ud800"]}, ValueError, r"Wasi\(args\[0\]\).*UTF-8.*ud800"),
        ({"args": ["\udcff"]}, ValueError, r"Wasi\(args\[0\]\).*UTF-8.*udcff"),
        ({"env": {"\udcff": "x"}}, ValueError, r"Wasi\(env\).*UTF-8.*udcff"),
        ({"env": {"A": "\udcff"}}, ValueError, r"Wasi\(env\['A'\]\).*UTF-8.*udcff"),
        ({"env": {"A": "b\0"}}, ValueError, r"Wasi\(env\['A'\]\).*NUL.*b\\x00"),
        ({"preopens": {"/\udcff": "/"}}, ValueError, r"Wasi\(preopens\).*UTF-8.*udcff"),
        ({"preopens": {"/a\0": "/"}}, ValueError, r"Wasi\(preopens\).*NUL.*a\\x00"),
        ({"env": {"": "x"}}, ValueError, r"Wasi\(env\).*''"),
        ({"env": {"A=B": "x"}}, ValueError, r"Wasi\(env\).*'A=B'"),
        ({"env": {"A": None}}, TypeError, r"Wasi\(env\['A'\]\).*None"),
        ({"stdin": "text"}, TypeError, r"Wasi\(stdin\).*'text'"),
        ({"stdout": "file"}, TypeError, r"Wasi\(stdout\).*'file'"),
        ({"stderr": 2}, TypeError, r"Wasi\(stderr\).*2"),
        ({"preopens": {"/": "/not/there"}}, ValueError, "'/not/there' is no directory"),
        ({"preopens": {"": "/"}}, ValueError, r"Wasi\(preopens\).*empty"),
        ({"preopens": {"a\0b": "/"}}, ValueError, r"Wasi\(preopens\).*NUL"),
    ],
)
def test_a_wrong_option_is_named(
    options: dict[str, object], error: type[Exception], words: str
) -> None:
    """The message names the option and the value."""
    with pytest.raises(error, match=words):
        Wasi(**options)  # type: ignore[arg-type]


def test_an_async_sink_is_refused() -> None:
    """Its coroutine would never be awaited."""

    async def sink(data: bytes) -> None:
        raise NotImplementedError(data)

    with pytest.raises(TypeError, match=r"Wasi\(stdout\).*async"):
        Wasi(stdout=sink)


@pytest.mark.parametrize("size", [-1, 1.5, 2**63, True])
def test_a_wrong_file_size_is_named(tmp_path: Path, size: int) -> None:
    """The message names the option and the value."""
    with pytest.raises(ValueError, match=rf"max_file_size.*{size}"):
        Preopen(tmp_path, max_file_size=size)
