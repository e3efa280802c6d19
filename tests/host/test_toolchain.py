"""A module that another kind of host was meant to run is refused in words that say so."""

from __future__ import annotations

import pytest

from wasmpool_host import CompileError, LinkError, Module


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [
        ("extism:host/env", "input_length", "an Extism plugin"),
        ("env", "emscripten_notify_memory_growth", "Emscripten"),
        ("env", "invoke_vii", "Emscripten"),
        ("gojs", "runtime.wasmExit", "GOOS=wasip1"),
        ("./x_bg.js", "__wbindgen_throw", "wasm-bindgen"),
        ("wbg", "__wbg_log_1", "wasm-bindgen"),
        ("wasi:io/streams@0.2.0", "[method]output-stream.write", "a component"),
        ("wasi_unstable", "fd_write", "older WASI"),
    ],
)
async def test_a_missing_import_tells_what_it_was_built_for(
    module: str, name: str, words: str
) -> None:
    """In one more sentence after the list."""
    with pytest.raises(LinkError) as caught:
        await Module.compile(f'(module (import "{module}" "{name}" (func)))')
    *_, listed, last = str(caught.value).splitlines()
    assert name in listed
    assert last.startswith("This looks like a module that was built")
    assert words in last


async def test_an_import_of_no_known_kind_is_listed_alone() -> None:
    """A plain name tells nothing."""
    with pytest.raises(LinkError) as caught:
        await Module.compile('(module (import "env" "f" (func)))')
    assert str(caught.value).splitlines()[1:] == ["  env.f: () -> ()"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            b"\0asm\x0d\0\x01\0",
            "is a WebAssembly component, not a module: compile it by Component.compile",
        ),
        ("(module (memory 1 1 shared))", "needs shared memory, which wasmpool does not support"),
        (
            "(module (memory 1) (func (atomic.fence)))",
            "needs threads, which wasmpool does not support",
        ),
        ("(module (type $f (func)) (type (cont $f)))", "needs a feature .* not support: .*stack"),
        (
            "(module (memory 1 (pagesize 1)))",
            "needs a feature .* not support: the custom page size",
        ),
        ("(module (type $t (shared (struct))))", "needs a feature .* not support: shared comp"),
        (
            "(module (type $t (struct)) (func (param (ref null (exact $t)))))",
            "needs a feature .* not support: custom descriptors",
        ),
        (b"#!/bin/sh", "is no valid WebAssembly module"),
        (b"\0asm\x01\0\0\0\xff", "is no valid WebAssembly module"),
    ],
)
async def test_what_is_a_module_is_never_called_invalid(source: bytes | str, words: str) -> None:
    """A feature that is missing here is told apart from bytes that are no module."""
    with pytest.raises(CompileError, match=words) as caught:
        await Module.compile(source)
    assert ("no valid" in str(caught.value)) == ("no valid" in words)
