"""Wasmtime's C API: the one module that touches it, and so the one that knows a version.

Everything above this file deals in plain integers (pointers), bytes and the small classes
below. The wheel's own Python classes serve where speed does not matter (configuration,
types of a module, linking); what runs on each call is bound here with plain pointers, for
about half of the cost of the wheel's wrappers.

The contract is the header files that come with Wasmtime, above all ``wasmtime/async.h``:
https://github.com/bytecodealliance/wasmtime/tree/main/crates/c-api/include. What it asks of
its callers, and this package keeps:

* One future at a time for a store, nested ones apart; while it is alive, nothing else is
  done to that store; every pointer given to it stays alive and unchanged.
* An inner future is deleted before the outer one, and each before its store.
* A callback runs on the fiber's stack. It may not raise: the process would be aborted.
"""

from __future__ import annotations

import ctypes
from ctypes import addressof
from functools import cache, partial
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import attrs
import wasmtime
from wasmtime import _ffi as ffi

from ._errors import Frame
from ._float_bits import nans_kept, put_f32, put_f64

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._types import FunctionType, ValueType

__all__ = [
    "SETTINGS",
    "CApiError",
    "Linker",
    "Stop",
    "Store",
    "compile_binary",
    "deserialize",
    "engine_key",
    "library",
    "new_engine",
    "serialize",
    "text_to_binary",
]

SUPPORTED: Final = "wasmtime >= 45, < 51"
"""As in pyproject.toml: 45 is the first wheel with `InstancePre`; each version in it was tested."""


def version() -> str:
    """The installed Wasmtime's."""
    from importlib.metadata import version as of  # noqa: PLC0415 - slow to import, seldom asked

    return of("wasmtime")


if not hasattr(wasmtime, "InstancePre"):
    raise ImportError(f"wasmtime {version()} is too old for wasmpool: install {SUPPORTED}")

_dll: Any = ffi.dll
_P = ctypes.c_void_p
_SIZE = ctypes.c_size_t


def _bind(name: str, result: Any, *args: Any, releases_gil: bool = False) -> Any:
    """A C function by plain pointers.

    Only what may run a guest, or for long, releases the interpreter's lock: to release it
    and take it again costs as much as one of the small functions does. Without ``args`` it takes
    what `pointer` and `number` made, and ctypes has nothing to convert: a call with eight
    arguments is then twice to three times as fast.
    """
    prototype = ctypes.CFUNCTYPE if releases_gil else ctypes.PYFUNCTYPE
    try:
        return prototype(result, *args)((name, _dll))
    except AttributeError:
        message = (
            f"wasmtime {version()} has no C function {name!r}, which wasmpool needs:"
            f" install {SUPPORTED}"
        )
        raise ImportError(message) from None


pointer: Callable[[int], Any] = _P.from_param
number: Callable[[int], Any] = cache(_SIZE.from_param)

call_async = _bind("wasmtime_func_call_async", _P)
poll = _bind("wasmtime_call_future_poll", ctypes.c_bool, _P, releases_gil=True)
delete_future = _bind("wasmtime_call_future_delete", None, _P, releases_gil=True)
delete_finished_future = _bind("wasmtime_call_future_delete", None, _P)
instantiate_async = _bind("wasmtime_instance_pre_instantiate_async", _P, _P, _P, _P, _P, _P)
increment_epoch = _bind("wasmtime_engine_increment_epoch", None, _P)
set_epoch_deadline = _bind("wasmtime_context_set_epoch_deadline", None, _P, ctypes.c_uint64)
caller_context = _bind("wasmtime_caller_context", _P, _P)
context_data = _bind("wasmtime_context_get_data", _P, _P)

_set_async_stack = _bind("wasmtime_config_async_stack_size_set", None, _P, ctypes.c_uint64)
_linker_instantiate_async = _bind("wasmtime_linker_instantiate_async", _P, _P, _P, _P, _P, _P, _P)
_linker_define = _bind(
    "wasmtime_linker_define", _P, _P, _P, ctypes.c_char_p, _SIZE, ctypes.c_char_p, _SIZE, _P
)
_define_async = _bind(
    "wasmtime_linker_define_async_func",
    _P, _P, ctypes.c_char_p, _SIZE, ctypes.c_char_p, _SIZE, _P, _P, _P, _P,
)  # fmt: skip
_yield_every = _bind(
    "wasmtime_context_epoch_deadline_async_yield_and_update", _P, _P, ctypes.c_uint64
)
_store_new = _bind("wasmtime_store_new", _P, _P, _P, _P)
_store_context = _bind("wasmtime_store_context", _P, _P)
_store_limiter = _bind("wasmtime_store_limiter", None, _P, *[ctypes.c_int64] * 5)
_store_delete = _bind("wasmtime_store_delete", None, _P, releases_gil=True)
_export_get = _bind(
    "wasmtime_instance_export_get", ctypes.c_bool, _P, _P, ctypes.c_char_p, _SIZE, _P
)
_caller_export = _bind("wasmtime_caller_export_get", ctypes.c_bool, _P, ctypes.c_char_p, _SIZE, _P)
_memory_data = _bind("wasmtime_memory_data", _P)
_memory_size = _bind("wasmtime_memory_data_size", _SIZE)
_global_get = _bind("wasmtime_global_get", None, _P, _P, _P)
_trap_code = _bind("wasmtime_trap_code", ctypes.c_bool, _P, _P)
_trap_delete = _bind("wasm_trap_delete", None, _P)
_trap_trace = _bind("wasm_trap_trace", None, _P, _P)
_trap_message = _bind("wasm_trap_message", None, _P, _P)
_frames_delete = _bind("wasm_frame_vec_delete", None, _P)
_frame_index = _bind("wasm_frame_func_index", ctypes.c_uint32, _P)
_frame_offset = _bind("wasm_frame_module_offset", _SIZE, _P)
_frame_name = _bind("wasmtime_frame_func_name", _P, _P)
_error_message = _bind("wasmtime_error_message", None, _P, _P)
_error_delete = _bind("wasmtime_error_delete", None, _P)
_bytes_delete = _bind("wasm_byte_vec_delete", None, _P)

ENTRY: Callable[[Callable[..., None]], Any] = ctypes.CFUNCTYPE(
    None, _P, _P, _P, _SIZE, _P, _SIZE, _P, _P
)
"""``wasmtime_func_async_callback_t``.

Its parameters: env, caller, args, nargs, results, nresults, trap, continuation.
"""
CONTINUATION: Callable[[Callable[[int], bool]], Any] = ctypes.CFUNCTYPE(ctypes.c_bool, _P)
"""``wasmtime_func_async_continuation_callback_t``: env -> whether the host call is done."""
write_continuation = Struct("@PPP").pack
"""``wasmtime_async_continuation_t``: callback, env, finalizer."""
CONTINUATION_SIZE: Final = 24

ADDRESS_SPACE: Final = memoryview((ctypes.c_char * (1 << 62)).from_address(0)).cast("B")
"""The memory of the process, by address: it is written to without a call."""

# A `wasmtime_val_t` is its kind, then a union at offset 8. The layouts below are one value's.
VALUE_SIZE: Final = ctypes.sizeof(ffi.wasmtime_val_t)
_VALUE_AT: Final = ffi.wasmtime_val_t.of.offset
_KINDS: Final[dict[str, tuple[int, str]]] = {
    "i32": (ffi.WASMTIME_I32.value, "i"),
    "i64": (ffi.WASMTIME_I64.value, "q"),
    "f32": (ffi.WASMTIME_F32.value, "f"),
    "f64": (ffi.WASMTIME_F64.value, "d"),
}


_PUT_FLOAT: Final[dict[str, Callable[..., None]]] = {"f32": put_f32, "f64": put_f64}


def values_taker(
    types: Sequence[ValueType],
) -> Callable[[bytes | bytearray], tuple[int | float, ...]]:
    """What reads an array of values: the kinds are passed over."""
    parts = ["<"]
    for type_ in types:
        _, letter = _KINDS[type_]
        tail = VALUE_SIZE - _VALUE_AT - Struct(letter).size
        parts.append(f"{_VALUE_AT}x{letter}{tail}x")
    take = Struct("".join(parts)).unpack_from
    if "f32" not in types:
        return take
    places = [
        at if type_ == "f32" else -1
        for type_, (_, at) in zip(types, value_places(types), strict=True)
    ]
    return nans_kept(take, places)


def value_places(types: Sequence[ValueType]) -> tuple[tuple[Callable[..., None], int], ...]:
    """How and where each of an array's values is written."""
    return tuple(
        (
            _PUT_FLOAT.get(type_) or Struct("<" + _KINDS[type_][1]).pack_into,
            k * VALUE_SIZE + _VALUE_AT,
        )
        for k, type_ in enumerate(types)
    )


def blank_values(types: Sequence[ValueType]) -> bytes:
    """An array of zeros of these types."""
    return b"".join(bytes([_KINDS[type_][0]]).ljust(VALUE_SIZE, b"\0") for type_ in types)


_EXTERN_FUNC: Final[int] = ffi.WASMTIME_EXTERN_FUNC.value
_EXTERN_MEMORY: Final[int] = ffi.WASMTIME_EXTERN_MEMORY.value

STACK: Final = 9 << 20
"""Bytes of address space for a fiber's stack. A guest may use 512 KiB, and of Python there is
little on it (`unchecked`). But Python 3.11 may run a finalizer there, and any a tracer. How deep
these recurse is counted up to 3.13, with limits that suit the 8 MiB of a thread: 1,000 levels of
``sorted(key=...)`` take 3 MiB in 3.11, and 4.9 in 3.13. Only what is used takes memory."""

TABLES: Final = 16
"""Tables of one instance, at most: more than any compiler makes, and each may have all of
``limits.table_elements``."""

_UNKNOWN: Final = (1 << 8 * ctypes.sizeof(_SIZE)) - 1
"""An offset that Wasmtime does not know."""

LONGEST: Final = 200
"""Bytes of a function's name in a frame: the guest chooses it."""


_Addressable: Final = ctypes.c_char * (1 << 32)
"""All that a guest could address by 32 bits."""

NO_ERRORS: Final = bytes(2 * ctypes.sizeof(_P))
"""Where a call leaves a trap or an error, by pointer: neither."""


class CApiError(Exception):
    """What Wasmtime said of a failure that is no trap; who catches it says what it means."""


def _raise_error(pointer: int | None) -> None:
    if pointer:
        raise CApiError(_take_error(pointer))


def _take_error(pointer: int) -> str:
    text = ffi.wasm_byte_vec_t()
    _error_message(pointer, addressof(text))
    message = _take_text(text)
    _error_delete(pointer)
    return message


def _take_text(text: Any) -> str:
    message = ctypes.string_at(text.data, text.size).decode("utf-8", "backslashreplace")
    _bytes_delete(addressof(text))
    return message.removesuffix("\0")


def raw(managed: Any) -> int:
    """The address that one of the wheel's objects holds; the object must outlive its use."""
    return ctypes.cast(managed.ptr(), _P).value or 0


# --- engine and modules ---------------------------------------------------------------------


SETTINGS: Final = {
    "epoch_interruption": True,
    "wasm_threads": False,
    "wasm_memory64": False,
    "wasm_multi_memory": False,
    "wasm_gc": False,
    "wasm_function_references": False,
    "wasm_exceptions": False,
    "wasm_stack_switching": False,
}
"""What compiled code depends on; ``wasmtime_config_<name>_set`` in the C API."""


def new_engine() -> wasmtime.Engine:
    """The engine that every module of the process is compiled for.

    Yielding at epochs is what makes a guest interruptible. What is switched off is out of
    scope, and so refused by name when a module that needs it is compiled.
    """
    config = wasmtime.Config()
    for name, value in SETTINGS.items():
        setattr(config, name, value)
    _set_async_stack(raw(config), STACK)
    return wasmtime.Engine(config)


def library() -> str:
    """Where Wasmtime's shared library is, for a process that has no need of the wheel."""
    return str(ffi.filename)


def engine_key() -> str:
    """Names what compiled code depends on, besides the module: the version and the settings."""
    return f"wasmtime-{version()}-epochs-1"


def text_to_binary(text: str | bytes) -> bytes:
    """Assemble the text format, which is UTF-8."""
    try:
        return bytes(wasmtime.wat2wasm(text))
    except wasmtime.WasmtimeError as error:
        raise CApiError(str(error)) from None


def compile_binary(engine: wasmtime.Engine, binary: bytes) -> wasmtime.Module:
    """Compile; releases the interpreter's lock, and uses the machine's other cores."""
    try:
        return wasmtime.Module(engine, binary)
    except wasmtime.WasmtimeError as error:
        raise CApiError(str(error)) from None


def serialize(module: wasmtime.Module) -> bytes:
    return bytes(module.serialize())


def deserialize(engine: wasmtime.Engine, code: bytes) -> wasmtime.Module:
    """Compiled code that `serialize` gave. It is run as it is: nothing checks it."""
    try:
        return wasmtime.Module.deserialize(engine, code)
    except wasmtime.WasmtimeError as error:
        raise CApiError(str(error)) from None


# --- linking --------------------------------------------------------------------------------


class Linker:
    """What a module may import, and the module made ready to be instantiated with it."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._linker = wasmtime.Linker(engine)
        self._kept: list[Any] = []  # everything whose address the C side holds

    def define(self, module: str, name: str, type_: FunctionType, entry: Any, index: int) -> None:
        """Define a function whose calls begin with ``entry``, called with ``index`` as its env."""
        signature = wasmtime.FuncType(_valtypes(type_.params), _valtypes(type_.results))
        first, second = module.encode(), name.encode()
        self._kept.append((signature, entry))
        error = _define_async(
            raw(self._linker), first, len(first), second, len(second),
            raw(signature), ctypes.cast(entry, _P), index, None,
        )  # fmt: skip
        _raise_error(error)

    def prepare(self, module: wasmtime.Module) -> Prepared:
        try:
            return Prepared(self._linker.instantiate_pre(module), self)
        except wasmtime.WasmtimeError as error:
            raise CApiError(str(error)) from None


class Prepared:
    """A module with its imports resolved; keeps all that it is made of alive."""

    __slots__ = ("_kept", "pointer")

    def __init__(self, pre: wasmtime.InstancePre, linker: Linker) -> None:
        self._kept = pre, linker
        self.pointer: int = raw(pre)


def _valtypes(types: Sequence[ValueType]) -> list[wasmtime.ValType]:
    return [getattr(wasmtime.ValType, type_)() for type_ in types]


# --- stores ---------------------------------------------------------------------------------


@attrs.frozen(eq=False, repr=False)
class Stop:
    """Why a guest stopped short of returning.

    ``code`` is None for what is no trap of the guest's: Wasmtime could not go on.
    """

    code: str | None
    message: str
    frames: tuple[Frame, ...] = ()


class Store:
    """One store and the instance in it, by address.

    ``key`` is what `context_data` gives back for it inside a callback. The buffers are what
    an outermost call needs: they stay where they are for as long as the store lives.
    """

    __slots__ = (
        "_added", "_base", "_bytes", "_instance", "_memory", "_memory_at", "_size", "_store",
        "_total", "_total_at",
        "_view", "context", "context_at", "error_at", "errors", "has_run", "instance_at", "started",
        "trap_at",
    )  # fmt: skip

    def __init__(
        self, engine: int, key: int, memory: int, table_elements: int, added: int = 0
    ) -> None:
        """``added``: bytes that the compiled module has before its code, and its source has not."""
        self._added = added
        self._store = _store_new(engine, key, None)
        self.context: int = _store_context(self._store)
        self.context_at: Any = pointer(self.context)
        # One memory: more are a proposal that is off. Instances: the guest, and a module for each
        # export that exchanges bytes.
        _store_limiter(self._store, memory, table_elements, 1_000, TABLES, 1)
        set_epoch_deadline(self.context, 1)
        _yield_every(self.context, 1)
        self.errors: bytearray = bytearray(NO_ERRORS)
        """Where a call leaves its trap, and after that its error, for `take_stop`."""
        self.trap_at: int = address(self.errors)
        self.error_at: int = self.trap_at + ctypes.sizeof(_P)
        self._instance = ffi.wasmtime_instance_t()
        self.instance_at: int = addressof(self._instance)
        self._memory: Any = None
        self._memory_at: Any = None
        self._total: Any = None  # the same memory, also where it has another name
        self._total_at: Any = None
        # The memory, as it was when the guest last ran and `_look` was called.
        self._base = 0
        self._size = 0
        self._bytes: Any = None
        self._view: Any = None
        self.has_run: bool = True
        """Whether the guest has run since: set by whoever runs it."""
        self.started: bool = False
        """Whether `take_instance` was called."""

    def delete(self) -> None:
        """Free the store; no future of it may be alive. Safe to call again."""
        if self._store:
            pointer, self._store, self.context = self._store, 0, 0
            _store_delete(pointer)

    def begin_instance(self, prepared: Prepared) -> int:
        future: int = instantiate_async(
            prepared.pointer, self.context, self.instance_at, self.trap_at, self.error_at
        )
        return future

    def call_of(
        self, function: int, args: int, args_count: int, results: int, results_count: int
    ) -> partial[int]:
        """What makes the future of a call, its arguments and results being where they are."""
        return partial(
            call_async, self.context_at, pointer(function), pointer(args), number(args_count),
            pointer(results), number(results_count), pointer(self.trap_at), pointer(self.error_at),
        )  # fmt: skip

    def export(self, name: str) -> Any:
        """The export's handle (an extern, to be kept alive while it is used), or None."""
        found = ffi.wasmtime_extern_t()
        key = name.encode()
        if not _export_get(self.context, self.instance_at, key, len(key), addressof(found)):
            return None
        return found

    def take_instance(self, memory: str | None) -> None:
        """Look the memory up, now that there is an instance; it is the export of this name.

        The host reads and writes one that the guest calls "memory", and only counts others.
        """
        self.started = True
        if memory is None:
            return
        self._total = self.export(memory)
        if memory == "memory":
            self._memory = self._total

    def memory_region(self) -> tuple[int, int]:
        """Base and size now; (0, 0) without a memory. Both move whenever the guest runs."""
        size = self.memory_size()
        if self._memory is None:
            return 0, 0
        return _memory_data(self.context_at, self._memory_at) or 0, size

    def memory_size(self) -> int:
        if self._memory_at is None:
            if self._memory is None:
                return 0
            self._memory_at = pointer(addressof(self._memory.of))
        size: int = _memory_size(self.context_at, self._memory_at)
        return size

    def total_memory(self) -> int:
        """Bytes of linear memory, by whatever name."""
        if self._total_at is None:
            if self._total is None:
                return 0
            self._total_at = pointer(addressof(self._total.of))
        size: int = _memory_size(self.context_at, self._total_at)
        return size

    def read(self, ptr: int, size: int) -> bytes | None:
        """Copy ``size`` bytes at ``ptr`` out; None, if they are not all inside the memory."""
        if self.has_run:
            self._look()
        end = ptr + size
        if end > self._size:
            return None
        copied: bytes = self._bytes[ptr:end]
        return copied

    def write(self, ptr: int, data: bytes) -> bool:
        """Copy ``data`` to ``ptr``; False, and nothing is written, if it does not all fit there."""
        if self.has_run:
            self._look()
        end = ptr + len(data)
        if end > self._size:
            return False
        self._view[ptr:end] = data
        return True

    def _look(self) -> None:
        """Have the memory as it is now under `_bytes` and `_view`.

        These span all that a guest could address, whether it is mapped or not, so that they are
        made anew only if the memory has moved, which it seldom does. A slice of them costs a
        fifth of `ctypes.string_at` and `ctypes.memmove`. Whoever takes one has seen to it that
        it is inside the memory, and nobody else gets hold of them.
        """
        self.has_run = False
        base, self._size = self.memory_region()
        if base != self._base:
            self._base = base
            self._bytes = _Addressable.from_address(base)
            self._view = memoryview(self._bytes).cast("B")

    def take_stop(self) -> Stop | None:
        """What the last call left."""
        return self.as_in_source(take_stop(self.errors))

    def as_in_source(self, stop: Stop | None) -> Stop | None:
        """The same, with the offsets of frames as the module's source has them."""
        if stop is None or not self._added:
            return stop
        frames = (attrs.evolve(f, offset=max(0, f.offset - self._added)) for f in stop.frames)
        return attrs.evolve(stop, frames=tuple(frames))


def address(buffer: bytearray) -> int:
    """Where a buffer's bytes are; they stay there, for they can no longer be resized."""
    return addressof(ctypes.c_char.from_buffer(buffer)) if buffer else 0


def func_at(extern: Any) -> int:
    """The address of an extern's function, which lives as long as the extern does."""
    return addressof(extern.of)


def _is_memory(extern: Any) -> bool:
    kind: int = extern.kind
    return kind == _EXTERN_MEMORY


def is_function(extern: Any) -> bool:
    kind: int = extern.kind
    return kind == _EXTERN_FUNC


def read_global_i32(context: int, extern: Any) -> int:
    value = ffi.wasmtime_val_t()
    _global_get(context, addressof(extern.of), addressof(value))
    return int(value.of.i32)


def caller_memory_region(caller: int) -> tuple[int, int]:
    """Base and size of the memory of the guest that waits in a host function."""
    found = ffi.wasmtime_extern_t()
    if not _caller_export(caller, b"memory", 6, addressof(found)):
        return 0, 0
    return _region(caller_context(caller), found) if _is_memory(found) else (0, 0)


def caller_function(caller: int, name: str) -> Any:
    """The handle of an exported function of the guest that waits in a host function, or None."""
    found = ffi.wasmtime_extern_t()
    key = name.encode()
    if not _caller_export(caller, key, len(key), addressof(found)) or not is_function(found):
        return None
    return found


def _region(context: int, memory: Any) -> tuple[int, int]:
    context_at, memory_at = pointer(context), pointer(addressof(memory.of))
    return _memory_data(context_at, memory_at) or 0, _memory_size(context_at, memory_at)


# --- what stopped a guest -------------------------------------------------------------------


def new_errors() -> bytearray:
    """Where a call leaves its trap, and after that its error."""
    return bytearray(NO_ERRORS)


def take_stop(errors: bytearray) -> Stop | None:
    """Take (and free) the trap or the error that a call left, if it did."""
    trap, error = Struct("@PP").unpack(errors)
    errors[:] = NO_ERRORS
    if trap:
        return _take_trap(trap)
    return Stop(None, _take_error(error)) if error else None


def _take_trap(pointer: int) -> Stop:
    number = ctypes.c_uint8()
    code = None
    if _trap_code(pointer, addressof(number)):
        code = wasmtime.TrapCode(number.value).name.lower().replace("_", "-")
    text = ffi.wasm_byte_vec_t()
    _trap_message(pointer, addressof(text))
    stop = Stop(code, _reason(_take_text(text)), _frames(pointer))
    _trap_delete(pointer)
    return stop


def _reason(message: str) -> str:
    """The reason out of Wasmtime's report, which goes on with a backtrace of its own."""
    _, found, cause = message.partition("Caused by:")
    lines = (cause if found else message).strip().splitlines()
    return lines[0].strip().removeprefix("0: ").removeprefix("wasm trap: ") if lines else "trap"


def _frames(trap: int) -> tuple[Frame, ...]:
    vector = ffi.wasm_frame_vec_t()
    _trap_trace(trap, addressof(vector))
    frames = tuple(_frame(ctypes.cast(vector.data[k], _P).value or 0) for k in range(vector.size))
    _frames_delete(addressof(vector))
    return frames


def _frame(pointer: int) -> Frame:
    name = _frame_name(pointer)
    if name:
        text = ffi.wasm_byte_vec_t.from_address(name)
        start = ctypes.string_at(text.data, min(text.size, LONGEST))
        function = start.decode("utf-8", "backslashreplace")  # it may be cut within a character
    else:
        function = f"function[{_frame_index(pointer)}]"
    offset = _frame_offset(pointer)
    return Frame(function, 0 if offset == _UNKNOWN else offset)


# --- the module that helps a guest to exchange bytes -------------------------------------------

_EXCHANGER: Final = """(module
  (import "guest" "call" (func $call {type}))
  (import "guest" "free" (func $free (param i32)))
  (global (export "freeing") (mut i32) (i32.const 0))
  (func (export "run") (param $previous i32) {params} (result i64)
    (global.set 0 (i32.const 1))
    (call $free (local.get $previous))
    (global.set 0 (i32.const 0))
    (call $call {args})))"""


class Exchangers:
    """A small module, linked beside a guest in its store: frees and calls in one crossing.

    Its ``run(previous, [payload]) -> packed`` frees the previous result, then calls the export.
    While it frees, its global ``freeing`` is 1: a trap tells by it which of the two trapped.
    """

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._engine = engine
        self._modules = {
            takes_payload: wasmtime.Module(engine, text)
            for takes_payload, text in (
                (True, _EXCHANGER.format(
                    type="(param i64) (result i64)", params="(param $payload i64)",
                    args="(local.get $payload)",
                )),
                (False, _EXCHANGER.format(type="(result i64)", params="", args="")),
            )
        }  # fmt: skip

    def begin(self, store: Store, call: Any, free: Any, *, takes_payload: bool) -> Beginning:
        """Begin to link one to two functions of the store's guest."""
        linker = wasmtime.Linker(self._engine)
        for name, extern in ((b"call", call), (b"free", free)):
            _raise_error(
                _linker_define(raw(linker), store.context, b"guest", 5, name, 4, addressof(extern))
            )
        return Beginning(store, linker, self._modules[takes_payload])


class Beginning:
    """An instance that is being made beside the guest; holds what its future needs."""

    def __init__(self, store: Store, linker: wasmtime.Linker, module: wasmtime.Module) -> None:
        self._store = store
        self._linker = linker
        self._module = module
        self._instance = ffi.wasmtime_instance_t()

    def future(self) -> int:
        future: int = _linker_instantiate_async(
            raw(self._linker), self._store.context, raw(self._module),
            addressof(self._instance), self._store.trap_at, self._store.error_at,
        )  # fmt: skip
        return future

    def export(self, name: bytes) -> Any:
        """One of its exports, once the future is done."""
        found = ffi.wasmtime_extern_t()
        _export_get(
            self._store.context, addressof(self._instance), name, len(name), addressof(found)
        )
        return found
