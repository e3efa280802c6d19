"""The guests that all contenders run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = [
    "CALLS",
    "ECHO_BYTES",
    "EXAMPLE",
    "EXTISM",
    "GO_PLUGIN",
    "PROGRAM",
    "PROGRAM_SOURCE",
]

EXAMPLE: Final[Path] = (
    Path(__file__).parent.parent / "pool" / "wasmpool" / "example" / "example.wasm"
)
"""The example plugin, which takes and returns JSON. A path, so that no contender has to import
wasmpool for it."""

PROGRAM: Final[Path] = Path(__file__).parent.parent / "tests" / "guests" / "c_program.wasm"
"""A program in C that does what its arguments say."""

GO_PLUGIN: Final[Path] = PROGRAM.with_name("go_plugin.wasm")
"""A plugin in Go, whose start takes a thousand times as long as that of the example."""

PROGRAM_SOURCE: Final[Path] = PROGRAM.with_suffix(".c")

CALLS: Final = """(module
  (memory (export "memory") 1)
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "spin") (param i32) (result i32) (local i32)
    (loop $again
      (local.set 1
        (i32.add (i32.mul (local.get 1) (i32.const 1664525)) (i32.const 1013904223)))
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $again (local.get 0)))
    (local.get 1))
  (func (export "forever") (loop $again (br $again))))"""
"""``add`` does almost nothing, ``spin`` runs as long as it is told, ``forever`` until stopped."""

ECHO_BYTES: Final = """(module
  (memory (export "memory") 1)
  (global $end (mut i32) (i32.const 1024))
  (func (export "malloc") (param $size i32) (result i32) (local $at i32)
    (local.set $at (global.get $end))
    (global.set $end (i32.add (global.get $end) (local.get $size)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $end) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.add (i32.div_u (local.get $size) (i32.const 65536)) (i32.const 1)))))
    (local.get $at))
  (func (export "free") (param i32))
  (func (export "echo") (param i64) (result i64) (local.get 0)))"""
"""``echo`` returns the region that it was given, so only the host's copying is measured."""

EXTISM: Final = """(module
  (import "extism:host/env" "input_length" (func $length (result i64)))
  (import "extism:host/env" "input_load_u8" (func $load8 (param i64) (result i32)))
  (import "extism:host/env" "input_load_u64" (func $load64 (param i64) (result i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store8 (param i64 i32)))
  (import "extism:host/env" "store_u64" (func $store64 (param i64 i64)))
  (import "extism:host/env" "output_set" (func $output (param i64 i64)))
  (import "extism:host/user" "pause" (func $pause (param i64)))
  (memory (export "memory") 1)
  (func (export "add") (result i32)
    (drop (i32.add (i32.wrap_i64 (call $load64 (i64.const 0)))
                   (i32.wrap_i64 (call $load64 (i64.const 8)))))
    (i32.const 0))
  (func (export "spin") (result i32) (local $n i32) (local $x i32)
    (local.set $n (i32.wrap_i64 (call $load64 (i64.const 0))))
    (loop $again
      (local.set $x
        (i32.add (i32.mul (local.get $x) (i32.const 1664525)) (i32.const 1013904223)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (local.get $n)))
    (i32.const 0))
  (func (export "nap") (result i32) (call $pause (call $load64 (i64.const 0))) (i32.const 0))
  (func (export "echo") (result i32) (local $n i64) (local $to i64) (local $i i64)
    (local.set $n (call $length))
    (local.set $to (call $alloc (local.get $n)))
    (block $words (loop $word
      (br_if $words (i64.gt_u (i64.add (local.get $i) (i64.const 8)) (local.get $n)))
      (call $store64 (i64.add (local.get $to) (local.get $i)) (call $load64 (local.get $i)))
      (local.set $i (i64.add (local.get $i) (i64.const 8)))
      (br $word)))
    (block $bytes (loop $byte
      (br_if $bytes (i64.ge_u (local.get $i) (local.get $n)))
      (call $store8 (i64.add (local.get $to) (local.get $i)) (call $load8 (local.get $i)))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br $byte)))
    (call $output (local.get $to) (local.get $n))
    (i32.const 0)))"""
"""The same functions for Extism, whose guests have another interface."""
