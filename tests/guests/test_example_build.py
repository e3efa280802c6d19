"""The example plugin that ships is what its source builds."""

import importlib

import pytest

from wasmpool.example import PATH, build


def test_committed_example_is_what_its_source_builds(capsys: pytest.CaptureFixture[str]) -> None:
    """A fresh build with the pinned compiler gives the committed bytes."""
    pytest.importorskip("ziglang", reason="ziglang builds the example: install the extra dev")
    assert build.main(["--check"]) == 0
    assert capsys.readouterr().out == "example.wasm: up to date\n"


def test_path_is_the_committed_module() -> None:
    """PATH names a file with a wasm binary, wherever the package is installed."""
    example = importlib.import_module("wasmpool.example")
    assert example.__all__ == ["PATH"]
    assert PATH.read_bytes()[:8] == b"\0asm\1\0\0\0"
