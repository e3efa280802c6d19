"""A small guest for the command and the server: its exports are tools that need no application."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import wasmtime

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TOOLS", "guest_bytes", "write_guest", "write_manifest"]

TOOLS = ("echo", "fail", "setting", "fetch", "crash", "version")
"""``setting`` answers with the value of the configuration that the input names; ``fetch`` sends the
input as a request; ``version`` is the guest's."""


def guest_bytes(version: str = "one", first: str = "", more: str = "") -> bytes:
    """The binary of the guest, with more imports and more exports."""
    return bytes(
        wasmtime.wat2wasm(f"""(module {first}
      (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
      (import "extism:host/env" "length" (func $length (param i64) (result i64)))
      (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
      (import "extism:host/env" "input_offset" (func $input (result i64)))
      (import "extism:host/env" "output_set" (func $set (param i64 i64)))
      (import "extism:host/env" "error_set" (func $error (param i64)))
      (import "extism:host/env" "config_get" (func $config (param i64) (result i64)))
      (import "extism:host/env" "http_request" (func $http (param i64 i64) (result i64)))
      (memory (export "memory") 1)
      (data (i32.const 0) "{version}")
      (func $output (param $block i64)
        (call $set (local.get $block) (call $length (local.get $block))))
      (func (export "echo") (call $output (call $input)))
      (func (export "fail") (result i32) (call $error (call $input)) (i32.const 1))
      (func (export "setting") (call $output (call $config (call $input))))
      (func (export "fetch") (call $output (call $http (call $input) (i64.const 0))))
      (func (export "crash") (unreachable))
      (func (export "version") (local $block i64) (local $k i32)
        (local.set $block (call $alloc (i64.const {len(version)})))
        (loop $next
          (call $store (i64.add (local.get $block) (i64.extend_i32_u (local.get $k)))
            (i32.load8_u (local.get $k)))
          (local.set $k (i32.add (local.get $k) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $k) (i32.const {len(version)}))))
        (call $output (local.get $block)))
      {more}
      (func (export "takes") (param i32)))""")
    )


def write_guest(path: Path, version: str = "one", first: str = "", more: str = "") -> Path:
    """Write the guest as an editor does: in one step."""
    new = path.with_name(f".{path.name}")
    new.write_bytes(guest_bytes(version, first, more))
    return new.replace(path)


def write_manifest(path: Path, module: Path, **more: Any) -> Path:
    """Write a manifest of a guest's file in the same way."""
    new = path.with_name(f".{path.name}")
    new.write_text(json.dumps({"wasm": [{"path": str(module)}], **more}))
    return new.replace(path)
