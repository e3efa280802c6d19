"""The kernel's module: an allocator with a memory of its own, and what guests import of it.

An Extism plugin does not share its own memory with its host. Both use the blocks of a third memory,
which a small module has: the kernel. One kernel is instantiated beside each guest, and the guest
imports its functions, so that a load or a store of the guest is a call inside WebAssembly.

The contract is that of the functions of ``extism:host/env`` in Extism's kernel (its ``kernel``
folder, version 1.12): what they take and return, and what they do with offsets where no block is.
A block is named by its offset, 0 is no block, and an offset that nobody may use reads as 0 and is
never written. How blocks are found is not part of it.

**Two memories.** ``memory`` has the blocks, and nothing else. ``state`` has what the kernel knows
of them, and no guest can import it: a stray store of a guest never reaches the allocator.

**Blocks.** A block is a number of granules of 64 bytes. ``state`` has an entry of 8 bytes for each
granule, which is set where a block begins. A new block is cut off the unused rest of the memory as
long as there is one. Then it is the first block of a list, if that fits: free blocks are in lists
by the logarithm of their size. Then the memory grows. Only where it may not, neighbours that are
free are joined, which looks at all blocks. All else takes the same time, however many there are.

**A block is used again late**, as in Extism: not while the memory has an unused rest. PDKs rely on
it. They free a block that a host function has freed before, when another block could be there, and
read the output from a block that is free already. So freed blocks wait in a list of their own,
until a block is wanted for which there is no rest.

**Nothing of a call is left for the next one.** `reset` clears all that was ever part of a block;
the rest cannot be written.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from wasmpool_host._types import FunctionType

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ACTIVE",
    "CALL",
    "ENTRIES",
    "ENTRY",
    "FREED_AT",
    "FUNCTIONS",
    "GRANULE",
    "INPUT_AT",
    "KERNEL",
    "MODULE",
    "MOST_PAGES",
    "MOST_PAGES_AT",
    "NUMBERS",
]

MODULE: Final = "extism:host/env"
"""The name that guests import the kernel's functions by."""

GRANULE: Final = 64
"""Bytes; blocks begin at multiples of it."""

CALL: Final = struct.Struct("<5Q"), 128
"""Where ``state`` has offset and length of the input, those of the output, and the error."""
INPUT_AT: Final = 128
"""Where the first two of these are."""
MOST_PAGES_AT: Final = 168
"""Where ``state`` has the most pages that ``memory`` may grow to; the host writes it."""
NUMBERS: Final = struct.Struct("<3I"), 172
"""Where ``state`` has a number that is another one in each call, the end of the blocks, and the
farthest that this has been since the last reset."""
MOST_PAGES: Final = 1 << 14
"""The most that can be written there, 1 GiB: sums of offsets fit into 32 bits."""

ENTRIES: Final = 256
"""Where ``state`` has the entry of the first granule."""
ENTRY: Final = struct.Struct("<II")
"""The length of a block in bytes, and its size in granules, with `ACTIVE` while it is in use."""
ACTIVE: Final = 1 << 31

FREED_AT: Final = 124
"""Where ``state`` has the first of the blocks that were freed, and are not used again yet."""

_OFFSET: Final = FunctionType((), ("i64",))
_FINDS: Final = FunctionType(("i64",), ("i64",))
_TAKES: Final = FunctionType(("i64",), ())
_SETS: Final = FunctionType(("i64", "i64"), ())
_BYTE: Final = FunctionType(("i64",), ("i32",))

FUNCTIONS: Final[Mapping[str, FunctionType]] = {
    "alloc": _FINDS,
    "error_get": _OFFSET,
    "error_set": _TAKES,
    "free": _TAKES,
    "input_length": _OFFSET,
    "input_load_u64": _FINDS,
    "input_load_u8": _BYTE,
    "input_offset": _OFFSET,
    "input_set": _SETS,
    "length": _FINDS,
    "length_unsafe": _FINDS,
    "load_u64": _FINDS,
    "load_u8": _BYTE,
    "memory_bytes": _OFFSET,
    "output_length": _OFFSET,
    "output_offset": _OFFSET,
    "output_set": _SETS,
    "reset": FunctionType((), ()),
    "store_u64": _SETS,
    "store_u8": FunctionType(("i64", "i32"), ()),
}
"""What guests may import of the kernel. ``begin`` is for the host."""

KERNEL: Final = """(module
  (memory $memory (export "memory") 1)
  (memory $state (export "state") 1)

  ;; Below 124: the first blocks of the lists, as numbers of granules; at 124 that of the blocks
  ;; that were freed since. At 176 and 180: the end of the blocks, and the farthest that it has
  ;; been since the last reset, in bytes. At 184: 1 if blocks were freed since the last join.
  (data (memory $state) (i32.const 176) "\\40\\00\\00\\00\\40\\00\\00\\00")

  ;; Returns 1 if [at, at + size) is below the end of the blocks.
  (func $inside (param $at i64) (param $size i64) (result i32)
    (local $end i64)
    (local.set $end (i64.extend_i32_u (i32.load $state (i32.const 176))))
    (i32.and
      (i64.lt_u (i64.sub (local.get $at) (i64.const 64)) (i64.sub (local.get $end) (i64.const 64)))
      (i64.le_u (local.get $size) (i64.sub (local.get $end) (local.get $at)))))

  ;; The address of a block's entry, or 0 where no block begins.
  (func $find (param $at i64) (result i32)
    (local $entry i32)
    (if (i64.ge_u (local.get $at) (i64.extend_i32_u (i32.load $state (i32.const 176))))
      (then (return (i32.const 0))))
    (if (i32.and (i32.wrap_i64 (local.get $at)) (i32.const 63))
      (then (return (i32.const 0))))
    (local.set $entry
      (i32.add (i32.const 256) (i32.shr_u (i32.wrap_i64 (local.get $at)) (i32.const 3))))
    (select (local.get $entry) (i32.const 0)
      (i32.lt_s (i32.load $state offset=4 (local.get $entry)) (i32.const 0))))

  (func $class (param $granules i32) (result i32)
    (i32.sub (i32.const 31) (i32.clz (local.get $granules))))

  ;; Take the first block of a list if it is large enough; its offset, or 0.
  (func $take (param $class i32) (param $granules i32) (result i32)
    (local $head i32) (local $index i32) (local $entry i32)
    (local.set $head (i32.shl (local.get $class) (i32.const 2)))
    (local.set $index (i32.load $state (local.get $head)))
    (if (i32.eqz (local.get $index)) (then (return (i32.const 0))))
    (local.set $entry
      (i32.add (i32.const 256) (i32.shl (local.get $index) (i32.const 3))))
    (if (i32.lt_u (i32.load $state offset=4 (local.get $entry)) (local.get $granules))
      (then (return (i32.const 0))))
    (i32.store $state (local.get $head) (i32.load $state (local.get $entry)))
    (i32.shl (local.get $index) (i32.const 6)))

  ;; Put a block in the list of its size.
  (func $list (param $entry i32) (param $granules i32)
    (local $head i32)
    (local.set $head (i32.shl (call $class (local.get $granules)) (i32.const 2)))
    (i32.store $state (local.get $entry) (i32.load $state (local.get $head)))
    (i32.store $state offset=4 (local.get $entry) (local.get $granules))
    (i32.store $state (local.get $head)
      (i32.shr_u (i32.sub (local.get $entry) (i32.const 256)) (i32.const 3))))

  ;; Put the blocks that were freed in the lists of their sizes, to be used again.
  (func $release
    (local $index i32) (local $entry i32)
    (block $done (loop $next
      (br_if $done
        (i32.eqz (local.tee $index (i32.load $state (i32.const 124)))))
      (local.set $entry
        (i32.add (i32.const 256) (i32.shl (local.get $index) (i32.const 3))))
      (i32.store $state (i32.const 124) (i32.load $state (local.get $entry)))
      (call $list (local.get $entry) (i32.load $state offset=4 (local.get $entry)))
      (i32.store $state (i32.const 184) (i32.const 1))
      (br $next))))

  ;; Join free blocks with their free neighbours, and with the unused rest.
  (func $join
    (local $at i32) (local $end i32) (local $run i32) (local $entry i32) (local $granules i32)
    (if (i32.eqz (i32.load $state (i32.const 184))) (then (return)))
    (i32.store $state (i32.const 184) (i32.const 0))
    (memory.fill $state (i32.const 0) (i32.const 0) (i32.const 128))
    (local.set $at (i32.const 64))
    (local.set $end (i32.load $state (i32.const 176)))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (local.set $entry
        (i32.add (i32.const 256) (i32.shr_u (local.get $at) (i32.const 3))))
      (local.set $granules (i32.load $state offset=4 (local.get $entry)))
      (if (i32.lt_s (local.get $granules) (i32.const 0))
        (then
          (call $end_run (local.get $run) (local.get $at))
          (local.set $run (i32.const 0)))
        (else
          (i64.store $state (local.get $entry) (i64.const 0))
          (if (i32.eqz (local.get $run)) (then (local.set $run (local.get $at))))))
      (local.set $at (i32.add (local.get $at)
        (i32.shl (i32.and (i32.const 0x7fffffff) (local.get $granules)) (i32.const 6))))
      (br $next)))
    (if (local.get $run) (then (i32.store $state (i32.const 176) (local.get $run)))))

  ;; Make one block of what is free from `run`, if that is not 0, to `at`.
  (func $end_run (param $run i32) (param $at i32)
    (if (local.get $run) (then (call $list
      (i32.add (i32.const 256) (i32.shr_u (local.get $run) (i32.const 3)))
      (i32.shr_u (i32.sub (local.get $at) (local.get $run)) (i32.const 6))))))

  ;; Cut a block off the unused rest, for which the memory may `grow`; its offset, or 0.
  (func $cut (param $granules i32) (param $grow i32) (result i32)
    (local $at i32) (local $end i32) (local $pages i32)
    (local.set $at (i32.load $state (i32.const 176)))
    (local.set $end
      (i32.add (local.get $at) (i32.shl (local.get $granules) (i32.const 6))))
    (local.set $pages
      (i32.shr_u (i32.add (local.get $end) (i32.const 65535)) (i32.const 16)))
    (if (i32.gt_u (local.get $pages) (memory.size $memory)) (then
      (if (i32.or (i32.eqz (local.get $grow))
            (i32.gt_u (local.get $pages) (i32.load $state (i32.const 168))))
        (then (return (i32.const 0))))
      (if (i32.eq (i32.const -1)
            (memory.grow $memory (i32.sub (local.get $pages) (memory.size $memory))))
        (then (return (i32.const 0))))))
    (local.set $pages
      (i32.shr_u
        (i32.add (i32.shr_u (local.get $end) (i32.const 3)) (i32.const 65791))
        (i32.const 16)))
    (if (i32.gt_u (local.get $pages) (memory.size $state)) (then
      (if (i32.eq (i32.const -1)
            (memory.grow $state (i32.sub (local.get $pages) (memory.size $state))))
        (then (return (i32.const 0))))))
    (i32.store $state (i32.const 176) (local.get $end))
    (if (i32.gt_u (local.get $end) (i32.load $state (i32.const 180)))
      (then (i32.store $state (i32.const 180) (local.get $end))))
    (i32.store $state offset=260
      (i32.shr_u (local.get $at) (i32.const 3)) (local.get $granules))
    (local.get $at))

  (func $alloc (export "alloc") (param $size i64) (result i64)
    (local $granules i32) (local $class i32) (local $at i32) (local $entry i32)
    (if (i64.eqz (local.get $size)) (then (return (i64.const 0))))
    (if (i64.gt_u (local.get $size) (i64.const 0x40000000)) (then (return (i64.const 0))))
    (local.set $granules
      (i32.shr_u (i32.add (i32.wrap_i64 (local.get $size)) (i32.const 63)) (i32.const 6)))
    (local.set $class (call $class (local.get $granules)))
    (block $found
      ;; 1. A part of the unused rest.
      (br_if $found (local.tee $at (call $cut (local.get $granules) (i32.const 0))))
      ;; 2. A free block of about this size, and then any of twice this size.
      (call $release)
      (br_if $found
        (local.tee $at (call $take (local.get $class) (local.get $granules))))
      (local.set $class (i32.add (local.get $class) (i32.const 1)))
      (br_if $found
        (local.tee $at (call $take (local.get $class) (local.get $granules))))
      ;; 3. A part of a larger memory.
      (br_if $found (local.tee $at (call $cut (local.get $granules) (i32.const 1))))
      ;; 4. There is no room: what free neighbours leave together, in any list.
      (call $join)
      (br_if $found (local.tee $at (call $cut (local.get $granules) (i32.const 0))))
      (local.set $class (call $class (local.get $granules)))
      (loop $larger
        (br_if $found
          (local.tee $at (call $take (local.get $class) (local.get $granules))))
        (local.set $class (i32.add (local.get $class) (i32.const 1)))
        (br_if $larger (i32.lt_u (local.get $class) (i32.const 31))))
      (return (i64.const 0)))
    (local.set $entry (i32.shr_u (local.get $at) (i32.const 3)))
    (i32.store $state offset=256 (local.get $entry) (i32.wrap_i64 (local.get $size)))
    (i32.store $state offset=260 (local.get $entry)
      (i32.or (i32.const 0x80000000) (i32.load $state offset=260 (local.get $entry))))
    (i64.extend_i32_u (local.get $at)))

  (func $free (export "free") (param $at i64)
    (local $entry i32)
    (if (i32.eqz (local.tee $entry (call $find (local.get $at)))) (then (return)))
    (if (i64.eq (local.get $at) (i64.load $state (i32.const 128)))
      (then (i64.store $state (i32.const 136) (i64.const 0))))
    (i32.store $state (local.get $entry) (i32.load $state (i32.const 124)))
    (i32.store $state offset=4 (local.get $entry)
      (i32.and (i32.const 0x7fffffff) (i32.load $state offset=4 (local.get $entry))))
    (i32.store $state (i32.const 124)
      (i32.shr_u (i32.wrap_i64 (local.get $at)) (i32.const 6))))

  (func $length (export "length") (export "length_unsafe") (param $at i64) (result i64)
    (local $entry i32)
    (local.set $entry (call $find (local.get $at)))
    (if (result i64) (local.get $entry)
      (then (i64.load32_u $state (local.get $entry)))
      (else (i64.const 0))))

  (func (export "load_u8") (param $at i64) (result i32)
    (if (result i32) (call $inside (local.get $at) (i64.const 1))
      (then (i32.load8_u $memory (i32.wrap_i64 (local.get $at))))
      (else (i32.const 0))))
  (func (export "load_u64") (param $at i64) (result i64)
    (if (result i64) (call $inside (local.get $at) (i64.const 8))
      (then (i64.load $memory (i32.wrap_i64 (local.get $at))))
      (else (i64.const 0))))
  (func (export "store_u8") (param $at i64) (param $byte i32)
    (if (call $inside (local.get $at) (i64.const 1))
      (then (i32.store8 $memory (i32.wrap_i64 (local.get $at)) (local.get $byte)))))
  (func (export "store_u64") (param $at i64) (param $value i64)
    (if (call $inside (local.get $at) (i64.const 8))
      (then (i64.store $memory (i32.wrap_i64 (local.get $at)) (local.get $value)))))

  ;; Returns 1 if [at, at + size) is inside the input.
  (func $given (param $at i64) (param $size i64) (result i32)
    (local $length i64)
    (local.set $length (i64.load $state (i32.const 136)))
    (i32.and
      (i64.lt_u (local.get $at) (local.get $length))
      (i64.le_u (local.get $size) (i64.sub (local.get $length) (local.get $at)))))
  (func $of_input (param $at i64) (result i32)
    (i32.wrap_i64 (i64.add (i64.load $state (i32.const 128)) (local.get $at))))

  (func (export "input_load_u8") (param $at i64) (result i32)
    (if (result i32) (call $given (local.get $at) (i64.const 1))
      (then (i32.load8_u $memory (call $of_input (local.get $at))))
      (else (i32.const 0))))
  (func (export "input_load_u64") (param $at i64) (result i64)
    (if (result i64) (call $given (local.get $at) (i64.const 8))
      (then (i64.load $memory (call $of_input (local.get $at))))
      (else (i64.const 0))))
  (func $input_set (export "input_set") (param $at i64) (param $size i64)
    (if (call $inside (local.get $at) (local.get $size)) (then
      (i64.store $state (i32.const 128) (local.get $at))
      (i64.store $state (i32.const 136) (local.get $size)))))
  (func (export "input_offset") (result i64) (i64.load $state (i32.const 128)))
  (func (export "input_length") (result i64) (i64.load $state (i32.const 136)))

  (func (export "output_set") (param $at i64) (param $size i64)
    (if (call $inside (local.get $at) (local.get $size)) (then
      (i64.store $state (i32.const 144) (local.get $at))
      (i64.store $state (i32.const 152) (local.get $size)))))
  (func (export "output_offset") (result i64) (i64.load $state (i32.const 144)))
  (func (export "output_length") (result i64) (i64.load $state (i32.const 152)))

  (func (export "error_set") (param $at i64)
    (if (i32.or (i64.eqz (local.get $at)) (call $inside (local.get $at) (i64.const 1)))
      (then (i64.store $state (i32.const 160) (local.get $at)))))
  (func (export "error_get") (result i64) (i64.load $state (i32.const 160)))

  (func (export "memory_bytes") (result i64)
    (i64.shl (i64.extend_i32_u (memory.size $memory)) (i64.const 16)))

  ;; Write zeros up to `end`, piece by piece: one instruction cannot be interrupted.
  (func $clear_blocks (param $at i32) (param $end i32)
    (loop $next
      (memory.fill $memory (local.get $at) (i32.const 0)
        (call $piece (local.get $at) (local.get $end)))
      (local.set $at (i32.add (local.get $at) (i32.const 65536)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end)))))
  (func $clear_entries (param $at i32) (param $end i32)
    (loop $next
      (memory.fill $state (local.get $at) (i32.const 0)
        (call $piece (local.get $at) (local.get $end)))
      (local.set $at (i32.add (local.get $at) (i32.const 65536)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end)))))
  (func $piece (param $at i32) (param $end i32) (result i32)
    (local $left i32)
    (local.set $left (i32.sub (local.get $end) (local.get $at)))
    (select (local.get $left) (i32.const 65536) (i32.lt_u (local.get $left) (i32.const 65536))))

  (func $reset (export "reset")
    (call $clear_blocks (i32.const 64) (i32.load $state (i32.const 180)))
    (memory.fill $state (i32.const 0) (i32.const 0) (i32.const 168))
    (call $clear_entries (i32.const 256)
      (i32.add (i32.const 256) (i32.shr_u (i32.load $state (i32.const 180)) (i32.const 3))))
    (i32.store $state (i32.const 176) (i32.const 64))
    (i32.store $state (i32.const 180) (i32.const 64)))

  ;; For the host: begin a call with an input of this size; its offset, or 0 without room.
  (func (export "begin") (param $size i64) (result i64)
    (local $at i64)
    (i32.store $state (i32.const 172) (i32.add (i32.const 1) (i32.load $state (i32.const 172))))
    (call $reset)
    (local.set $at (call $alloc (local.get $size)))
    (call $input_set (local.get $at) (local.get $size))
    (local.get $at)))"""
