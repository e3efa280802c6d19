"""A guest that does what its input says: a list of calls of the functions that it imports.

A script is a list of `Step`, and each step has a result, which later steps can use. The output is
all results, unless the script sets another one.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FUNCTIONS", "Result", "Script", "Step", "guest", "results", "script", "step"]

FUNCTIONS: Final[Mapping[str, tuple[tuple[str, ...], str | None]]] = {
    "alloc": (("i64",), "i64"),
    "free": (("i64",), None),
    "length": (("i64",), "i64"),
    "length_unsafe": (("i64",), "i64"),
    "load_u8": (("i64",), "i32"),
    "load_u64": (("i64",), "i64"),
    "store_u8": (("i64", "i32"), None),
    "store_u64": (("i64", "i64"), None),
    "input_offset": ((), "i64"),
    "input_length": ((), "i64"),
    "input_load_u8": (("i64",), "i32"),
    "input_load_u64": (("i64",), "i64"),
    "input_set": (("i64", "i64"), None),
    "output_set": (("i64", "i64"), None),
    "output_offset": ((), "i64"),
    "output_length": ((), "i64"),
    "error_set": (("i64",), None),
    "error_get": ((), "i64"),
    "reset": ((), None),
    "memory_bytes": ((), "i64"),
    "config_get": (("i64",), "i64"),
    "var_get": (("i64",), "i64"),
    "var_set": (("i64", "i64"), None),
    "http_request": (("i64", "i64"), "i64"),
    "http_status_code": ((), "i32"),
    "http_headers": ((), "i64"),
    "log_trace": (("i64",), None),
    "log_debug": (("i64",), None),
    "log_info": (("i64",), None),
    "log_warn": (("i64",), None),
    "log_error": (("i64",), None),
    "get_log_level": ((), "i32"),
}
"""What the guest imports of ``extism:host/env``: parameters and result."""

_OPCODES: Final = {name: k for k, name in enumerate(FUNCTIONS)}
_USER, _RETURN, _TRAP, _OUTPUT = range(100, 104)
_OF_A: Final = 1 << 8
_OF_B: Final = 1 << 9
_STEP: Final = struct.Struct("<3Q")
_U64: Final = (1 << 64) - 1


class Result(NamedTuple):
    """The result of an earlier step, as an argument."""

    step: int


class Step(NamedTuple):
    """One call: the opcode, and two arguments."""

    opcode: int
    a: int | Result
    b: int | Result


def step(name: str, a: int | Result = 0, b: int | Result = 0) -> Step:
    """A call of a function; or one of these.

    ``user``: the host function ``user`` of ``extism:host/user``. ``return``: return ``a``, with no
    other output. ``trap``. ``output``: the block ``a`` is the output, and ``b`` is returned.
    """
    special = {"user": _USER, "return": _RETURN, "trap": _TRAP, "output": _OUTPUT}
    return Step(special.get(name, _OPCODES.get(name, -1)), a, b)


def script(*steps: Step) -> bytes:
    """The input for a script."""
    written = []
    for opcode, a, b in steps:
        flags = _OF_A * isinstance(a, Result) + _OF_B * isinstance(b, Result)
        values = (v.step if isinstance(v, Result) else v & _U64 for v in (a, b))
        written.append(_STEP.pack(opcode | flags, *values))
    return b"".join(written)


class Script:
    """A script as it is written, step by step."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def add(self, name: str, a: int | Result = 0, b: int | Result = 0) -> Result:
        """Add a step; return its result."""
        return self._add(step(name, a, b))

    def block(self, data: bytes) -> Result:
        """Add steps that make a block of some bytes; return its offset."""
        if not data:
            return self._add(step("length", 0))
        offset = self.add("alloc", len(data))
        for k, byte in enumerate(data):  # the upper half of an opcode is added to an argument
            self._add(Step(_OPCODES["store_u8"] | (k + 1) << 16, offset, byte))
        return offset

    def output(self, block: Result) -> bytes:
        """End with a block as the output; return the input."""
        self.add("output", block, 0)
        return script(*self.steps)

    def end(self) -> bytes:
        """End with all results as the output; return the input."""
        return script(*self.steps)

    def _add(self, new: Step) -> Result:
        self.steps.append(new)
        return Result(len(self.steps) - 1)


def results(output: bytes) -> Sequence[int]:
    """The results of a script, unsigned."""
    return struct.unpack(f"<{len(output) // 8}Q", output)


def guest(*, user: bool = False, start: str = "") -> str:
    """The guest's text. ``user``: it imports that host function. ``start``: further definitions."""
    imports, cases = [], []
    for name, (params, result) in FUNCTIONS.items():
        types = f"(param {' '.join(params)})" if params else ""
        returned = f"(result {result})" if result else ""
        imports.append(f'(import "extism:host/env" "{name}" (func ${name} {types} {returned}))')
        cases.append(_case(_OPCODES[name], _call(name, params, result)))
    if user:
        imports.append('(import "extism:host/user" "user" (func $user (param i64) (result i64)))')
        cases.append(_case(_USER, "(local.set $r (call $user (local.get $a)))"))
    return f"""(module
      {" ".join(imports)}
      (memory (export "memory") 4)
      {start}
      (func (export "run") (result i32)
        (local $at i32) (local $end i32) (local $op i32) (local $a i64) (local $b i64)
        (local $r i64) (local $n i32) (local $k i32) (local $out i64)
        ;; 1. A copy of the script, for it may free its input.
        (local.set $end (i32.wrap_i64 (call $input_length)))
        (block $copied (loop $copy
          (br_if $copied (i32.ge_u (local.get $at) (local.get $end)))
          (i64.store offset=65536 (local.get $at)
            (call $input_load_u64 (i64.extend_i32_u (local.get $at))))
          (local.set $at (i32.add (local.get $at) (i32.const 8)))
          (br $copy)))
        ;; 2. Its steps.
        (local.set $at (i32.const 0))
        (block $done (loop $next
          (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
          (local.set $op (i32.load offset=65536 (local.get $at)))
          (local.set $a (i64.load offset=65544 (local.get $at)))
          (local.set $b (i64.load offset=65552 (local.get $at)))
          (local.set $r (i64.const 0))
          (if (i32.and (local.get $op) (i32.const {_OF_A})) (then
            (local.set $a (i64.load (i32.shl (i32.wrap_i64 (local.get $a)) (i32.const 3))))))
          (if (i32.and (local.get $op) (i32.const {_OF_B})) (then
            (local.set $b (i64.load (i32.shl (i32.wrap_i64 (local.get $b)) (i32.const 3))))))
          ;; The upper half of an opcode is added to the first argument, less one.
          (local.set $k (i32.shr_u (local.get $op) (i32.const 16)))
          (if (local.get $k) (then (local.set $a (i64.add (local.get $a)
            (i64.extend_i32_u (i32.sub (local.get $k) (i32.const 1)))))))
          (local.set $op (i32.and (local.get $op) (i32.const 255)))
          {" ".join(cases)}
          (if (i32.eq (local.get $op) (i32.const {_RETURN}))
            (then (return (i32.wrap_i64 (local.get $a)))))
          (if (i32.eq (local.get $op) (i32.const {_TRAP})) (then (unreachable)))
          (if (i32.eq (local.get $op) (i32.const {_OUTPUT})) (then
            (call $output_set (local.get $a) (call $length (local.get $a)))
            (return (i32.wrap_i64 (local.get $b)))))
          (i64.store (i32.shl (local.get $n) (i32.const 3)) (local.get $r))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (local.set $at (i32.add (local.get $at) (i32.const {_STEP.size})))
          (br $next)))
        ;; 3. All results.
        (if (i32.eqz (local.get $n)) (then (return (i32.const 0))))
        (local.set $out (call $alloc (i64.extend_i32_u (i32.shl (local.get $n) (i32.const 3)))))
        (local.set $k (i32.const 0))
        (loop $more
          (call $store_u64
            (i64.add (local.get $out) (i64.extend_i32_u (i32.shl (local.get $k) (i32.const 3))))
            (i64.load (i32.shl (local.get $k) (i32.const 3))))
          (local.set $k (i32.add (local.get $k) (i32.const 1)))
          (br_if $more (i32.lt_u (local.get $k) (local.get $n))))
        (call $output_set (local.get $out)
          (i64.extend_i32_u (i32.shl (local.get $n) (i32.const 3))))
        (i32.const 0))
      (func (export "echo")
        (call $output_set (call $input_offset) (call $input_length)))
      (func (export "fail") (result i32)
        (call $error_set (call $input_offset)) (i32.const 1))
      (func (export "spin") (loop $on (br $on)))
      {_USER_EXPORT if user else ""}
      (func (export "takes") (param i32)))"""


_USER_EXPORT: Final = """(func (export "ask") (local $reply i64)
        (local.set $reply (call $user (call $input_offset)))
        (call $output_set (local.get $reply) (call $length (local.get $reply))))"""


def _case(opcode: int, call: str) -> str:
    return f"(if (i32.eq (local.get $op) (i32.const {opcode})) (then {call}))"


def _call(name: str, params: Sequence[str], result: str | None) -> str:
    values = []
    for local, type_ in zip("ab", params, strict=False):
        value = f"(local.get ${local})"
        values.append(value if type_ == "i64" else f"(i32.wrap_i64 {value})")
    call = f"(call ${name} {' '.join(values)})"
    if result is None:
        return call
    return f"(local.set $r {call if result == 'i64' else f'(i64.extend_i32_u {call})'})"
