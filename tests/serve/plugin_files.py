"""Plugins as files, with tools of any name: each waits, and answers with what it was asked."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import wasmtime
from tests.mcp.scripted import scripted_text, tool

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["plugin_bytes", "write_plugin"]

_IMPORT = '(import "env" "answer" (func $answer (param i64) (result i64)))'
_POLL = """(import "wasi_snapshot_preview1" "poll_oneoff"
  (func $poll (param i32 i32 i32 i32) (result i32)))"""
_ANSWER = """(data (i32.const 800) "{subscription}")
  (func $answer (param i64) (result i64)
    (drop (call $poll (i32.const 800) (i32.const 848) (i32.const 1) (i32.const 880)))
    (local.get 0))"""


def plugin_bytes(name: str, tools: Iterable[str], *, seconds: float = 0) -> bytes:
    """The file of a plugin with these tools, which wait before they answer."""
    text = scripted_text(name, [tool(each) for each in tools])
    assert text.count(_IMPORT) == 1
    # A relative time of the monotonic clock: see `subscription` in WASI preview 1.
    clock = struct.pack("<QB7xI4xQQH6x", 0, 0, 1, int(seconds * 1e9), 0, 0)
    answer = _ANSWER.format(subscription="".join(f"\\{byte:02x}" for byte in clock))
    head, _, _ = text.replace(_IMPORT, _POLL).rpartition(")")
    return bytes(wasmtime.wat2wasm(f"{head}{answer})"))


def write_plugin(path: Path, *tools: str, seconds: float = 0) -> Path:
    """Write a plugin as an editor does: in one step."""
    new = path.with_name(f".{path.name}")
    new.write_bytes(plugin_bytes(path.stem, tools, seconds=seconds))
    return new.replace(path)
