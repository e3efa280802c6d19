"""A run gives an instance another process: what a component has kept of the old one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.host.wasi.preview2 import STREAMS, TYPES

from wasmpool_host import Wasi
from wasmpool_host._instance.caller import PROCESS
from wasmpool_host._wasi.process import open_process
from wasmpool_host._wit_values import Err, Ok

from .test_streams import of_input, of_output, stdin, stdout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.host.wasi.preview2 import FakeComponent


def enter_world(component: FakeComponent, **options: Any) -> None:
    """Give it another process, as a run does."""
    component.state.pop(PROCESS).close()
    component.state[PROCESS] = open_process(Wasi(**options))


def test_standard_streams_are_those_of_the_run(
    open_component: Callable[..., FakeComponent],
) -> None:
    """Whenever the component got its handles: engines of languages keep them."""
    before: list[bytes] = []
    during: list[bytes] = []
    component = open_component(stdin=b"before", stdout=before.append)
    source, target = stdin(component), stdout(component)
    assert of_output(component, "write", target, b"1") == Ok()
    enter_world(component, stdin=b"during", stdout=during.append)
    assert of_output(component, "write", target, b"2") == Ok()
    assert of_input(component, "read", source, 100) == Ok(b"during")
    pollable = of_input(component, "subscribe", source)
    assert component.call("wasi:io/poll", "[method]pollable.ready", pollable) is True
    assert (before, during) == ([b"1"], [b"2"])


def test_a_stream_that_has_failed_before_is_open_in_the_run(
    open_component: Callable[..., FakeComponent],
) -> None:
    """It is another stream."""

    def broken(_data: bytes) -> None:
        raise OSError

    component = open_component(stdout=broken)
    target = stdout(component)
    assert isinstance(of_output(component, "write", target, b"x"), Err)
    enter_world(component, stdout=None)
    assert of_output(component, "write", target, b"x") == Ok()


def test_preopened_directories_are_those_of_the_run(
    component: FakeComponent, root: Path, tmp_path: Path
) -> None:
    """By their order; where there is none, the handle is of no use."""
    (directory,) = component.roots()
    other = tmp_path / "other"
    other.mkdir()
    (other / "new").write_text("new")
    enter_world(component, preopens={"/": other})
    assert component.at(directory, "stat-at", set(), "file") == "no-entry"
    assert component.at(directory, "stat-at", set(), "new").size == 3
    enter_world(component)
    assert component.at(directory, "stat-at", set(), "new") == "bad-descriptor"


@pytest.mark.parametrize("preopens", [True, False])
def test_files_that_were_open_are_closed_for_good(
    component: FakeComponent, root: Path, *, preopens: bool
) -> None:
    """The system's numbers of their descriptors may be those of other files by now."""
    (directory,) = component.roots()
    file = component.open(directory, "file", flags=["read", "write"])
    reader = component.at(file, "read-via-stream", 0)
    writer = component.at(file, "write-via-stream", 0)
    appender = component.at(file, "append-via-stream")
    listing = component.at(directory, "read-directory")
    enter_world(component, **({"preopens": {"/": root}} if preopens else {}))
    for name, args in (
        ("read", (1, 0)), ("write", (b"x", 0)), ("stat", ()), ("get-flags", ()), ("sync", ()),
        ("set-size", (0,)), ("get-type", ()), ("metadata-hash", ()), ("read-via-stream", (0,)),
    ):  # fmt: skip
        assert component.at(file, name, *args) == "bad-descriptor", name
    assert component.read(reader).value.code == "bad-descriptor"
    for stream in (writer, appender):
        assert component.write(stream, b"x").value.code == "bad-descriptor"
    read_entry = "[method]directory-entry-stream.read-directory-entry"
    assert component.call(TYPES, read_entry, listing) == Err("bad-descriptor")
    ready = component.call(STREAMS, "[method]input-stream.subscribe", reader)
    assert component.call("wasi:io/poll", "[method]pollable.ready", ready) is True
    for handle in (file, reader, writer, appender, listing):
        component.drop(handle)
    assert (root / "file").read_bytes() == b"0123456789"
