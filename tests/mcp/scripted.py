"""Plugins whose tools are functions of a test: they can wait for what the test does, or spin.

The guest hands each call to a host function. What that returns is the tool's answer; if it returns
None, the guest computes until it is stopped.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from wasmpool import Caller, Limits, Module, host_function

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    Answer: TypeAlias = Callable[[str, dict[str, Any]], Awaitable[str | None]]

__all__ = ["SPIN", "scripted", "scripted_text", "tool"]

SPIN = None
"""The answer for which a guest computes until it is stopped."""

_WAT = """(module
  (import "env" "answer" (func $answer (param i64) (result i64)))
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const {top}))
  (data (i32.const 16) "{name}")
  (data (i32.const {metadata_at}) "{metadata}")
  (data (i32.const {tools_at}) "{tools}")
  (func $malloc (export "malloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $top))
    (global.set $top (i32.add (i32.add (global.get $top) (local.get $size)) (i32.const 8)))
    (block $fits (loop $grow
      (br_if $fits (i32.le_u (global.get $top) (i32.shl (memory.size) (i32.const 16))))
      (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then (unreachable)))
      (br $grow)))
    (local.get $at))
  (func (export "free") (param i32))
  (func $text (param $at i32) (param $size i32) (result i64)
    (local $copy i32)
    (local.set $copy (call $malloc (local.get $size)))
    (memory.copy (local.get $copy) (local.get $at) (local.get $size))
    (i64.or (i64.shl (i64.extend_i32_u (local.get $copy)) (i64.const 32))
            (i64.extend_i32_u (local.get $size))))
  (func (export "name") (result i64) (call $text (i32.const 16) (i32.const {name_size})))
  (func (export "metadata") (result i64)
    (call $text (i32.const {metadata_at}) (i32.const {metadata_size})))
  (func (export "tools") (result i64)
    (call $text (i32.const {tools_at}) (i32.const {tools_size})))
  (func (export "configure") (param i64) (result i64) (i64.const 0))
  (func (export "healthy") (result i32) (i32.const 1))
  (func (export "execute") (param $request i64) (result i64)
    (local $reply i64)
    (local.set $reply (call $answer (local.get $request)))
    (loop $spin (br_if $spin (i64.eqz (local.get $reply))))
    (local.get $reply)))"""


def tool(name: str, description: str = "", **parameters: Any) -> dict[str, Any]:
    """A tool as a plugin describes it; all of its parameters are required."""
    return {
        "name": name,
        "description": description,
        "parameters": parameters,
        "required": list(parameters),
    }


def scripted_text(name: str, tools: Sequence[Mapping[str, Any]]) -> str:
    """The text of a plugin."""
    metadata = json.dumps({"name": name, "version": "1", "abi_version": 1})
    listed = json.dumps(tools)
    tools_at = 1_024
    top = tools_at + len(listed) + 64
    return _WAT.format(
        name=name,
        name_size=len(name),
        metadata=metadata.replace("\\", "\\\\").replace('"', '\\"'),
        metadata_at=512,
        metadata_size=len(metadata),
        tools=listed.replace("\\", "\\\\").replace('"', '\\"'),
        tools_at=tools_at,
        tools_size=len(listed),
        top=top,
    ).replace('"memory") 1', f'"memory") {2 + (top >> 16)}')


async def scripted(
    name: str, tools: Sequence[Mapping[str, Any]], answer: Answer, **limits: Any
) -> Module:
    """A plugin whose calls are answered by a function of the tool's name and the arguments."""

    @host_function("env", "answer", params=["i64"], results=["i64"])
    async def answer_call(caller: Caller, request: int) -> int:
        given = json.loads(caller.read(request))
        data = await answer(given["tool_name"], given["args"])
        return 0 if data is SPIN else await caller.reply(json.dumps({"data": data}).encode())

    text = scripted_text(name, tools)
    return await Module.compile(text, imports=[answer_call], limits=Limits(**limits))
