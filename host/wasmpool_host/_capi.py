"""Wasmtime's C API: the only module that uses it, and that depends on its version.

The code above this file uses plain integers (pointers), bytes and the small classes below. The
wheel's own Python classes are used where speed does not matter (configuration, types of a module,
linking). What runs on each call is bound here with plain pointers, at about half the cost of the
wheel's wrappers.

The contract is in Wasmtime's header files, above all ``wasmtime/async.h``:
https://github.com/bytecodealliance/wasmtime/tree/main/crates/c-api/include. It requires of its
callers, and this package ensures:

* A store has one future at a time, except nested ones. While a future is alive, nothing else is
  done to its store, and every pointer given to it stays alive and unchanged.
* An inner future is deleted before the outer one, and each before its store.
* A callback runs on the fiber's stack. It must not raise: the process would be aborted.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from ctypes import addressof
from functools import cache, lru_cache, partial
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import wasmtime
from wasmtime import _ffi as ffi

from ._errors import Frame
from ._float_bits import nans_kept, put_f32, put_f64

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ._types import FunctionType, ValueType

__all__ = [
    "SETTINGS",
    "SHOWN",
    "SHOWN_MEMORY",
    "Arena",
    "CApiError",
    "EmptyInstance",
    "Failure",
    "Linker",
    "Place",
    "Store",
    "Window",
    "bind",
    "compile_binary",
    "deserialize",
    "empty_module",
    "engine_key",
    "library",
    "new_engine",
    "raise_error",
    "serialize",
    "store_limits",
    "text_to_binary",
]

SUPPORTED: Final = "wasmtime >= 45, < 51"
"""The range in pyproject.toml: 45 is the first wheel with `InstancePre`, and each version in the
range was tested."""


def version() -> str:
    """The version of the installed Wasmtime."""
    from importlib.metadata import version as of  # noqa: PLC0415 - slow to import, rarely used

    return of("wasmtime")


if not hasattr(wasmtime, "InstancePre"):
    raise ImportError(f"wasmtime {version()} is too old for wasmpool: install {SUPPORTED}")

_dll: Any = ffi.dll
_P = ctypes.c_void_p
_SIZE = ctypes.c_size_t


def bind(name: str, result: Any, *args: Any, releases_gil: bool = False) -> Any:
    """A C function that takes plain pointers.

    Only functions that may run a guest, or may take long, release the interpreter's lock: to
    release and retake it costs as much as one of the small functions. A function bound without
    ``args`` takes values that `pointer` and `number` made, so that ctypes has nothing to convert: a
    call with eight arguments is then two to three times as fast.
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
_limit: Callable[[int], Any] = cache(ctypes.c_int64.from_param)

call_async = bind("wasmtime_func_call_async", _P)
poll = bind("wasmtime_call_future_poll", ctypes.c_bool, _P, releases_gil=True)
delete_future = bind("wasmtime_call_future_delete", None, _P, releases_gil=True)
delete_finished_future = bind("wasmtime_call_future_delete", None, _P)
instantiate_async = bind("wasmtime_instance_pre_instantiate_async", _P)
_instance_new = bind("wasmtime_instance_new", _P, _P, _P, _P, _SIZE, _P, _P)
increment_epoch = bind("wasmtime_engine_increment_epoch", None, _P)
_set_epoch_deadline = bind("wasmtime_context_set_epoch_deadline", None)
caller_context = bind("wasmtime_caller_context", _P, _P)
context_data = bind("wasmtime_context_get_data", _P, _P)

_set_async_stack = bind("wasmtime_config_async_stack_size_set", None, _P, ctypes.c_uint64)
_new_pooling_config = bind("wasmtime_pooling_allocation_config_new", _P)
_delete_pooling_config = bind("wasmtime_pooling_allocation_config_delete", None, _P)
_set_pooling = bind("wasmtime_pooling_allocation_strategy_set", None, _P, _P)
_linker_instantiate_async = bind("wasmtime_linker_instantiate_async", _P, _P, _P, _P, _P, _P, _P)
_linker_clone = bind("wasmtime_linker_clone", _P, _P)
_linker_delete = bind("wasmtime_linker_delete", None, _P)
_linker_define_instance = bind(
    "wasmtime_linker_define_instance", _P, _P, _P, ctypes.c_char_p, _SIZE, _P
)
_linker_define = bind(
    "wasmtime_linker_define", _P, _P, _P, ctypes.c_char_p, _SIZE, ctypes.c_char_p, _SIZE, _P
)
_define_async = bind(
    "wasmtime_linker_define_async_func",
    _P, _P, ctypes.c_char_p, _SIZE, ctypes.c_char_p, _SIZE, _P, _P, _P, _P,
)  # fmt: skip
_yield_every = bind("wasmtime_context_epoch_deadline_async_yield_and_update", _P)
_store_new = bind("wasmtime_store_new", _P)
_store_context = bind("wasmtime_store_context", _P)
_store_limiter = bind("wasmtime_store_limiter", None)
_store_delete = bind("wasmtime_store_delete", None, _P, releases_gil=True)
_export_get = bind("wasmtime_instance_export_get", ctypes.c_bool)
_caller_export = bind("wasmtime_caller_export_get", ctypes.c_bool, _P, ctypes.c_char_p, _SIZE, _P)
_memory_data = bind("wasmtime_memory_data", _P)
_memory_size = bind("wasmtime_memory_data_size", _SIZE)
_global_get = bind("wasmtime_global_get", None, _P, _P, _P)
_global_set = bind("wasmtime_global_set", _P, _P, _P, _P)
_table_size = bind("wasmtime_table_size", ctypes.c_uint64, _P, _P)
_table_get = bind("wasmtime_table_get", ctypes.c_bool, _P, _P, ctypes.c_uint64, _P)
_madvise: Any = ctypes.CDLL(None, use_errno=True).madvise
_madvise.argtypes = (_P, _SIZE, ctypes.c_int)
_trap_code = bind("wasmtime_trap_code", ctypes.c_bool, _P, _P)
_trap_delete = bind("wasm_trap_delete", None, _P)
_trap_trace = bind("wasm_trap_trace", None, _P, _P)
_trap_message = bind("wasm_trap_message", None, _P, _P)
_frames_delete = bind("wasm_frame_vec_delete", None, _P)
_frame_index = bind("wasm_frame_func_index", ctypes.c_uint32, _P)
_frame_offset = bind("wasm_frame_module_offset", _SIZE, _P)
_frame_name = bind("wasmtime_frame_func_name", _P, _P)
_error_message = bind("wasmtime_error_message", None, _P, _P)
_error_delete = bind("wasmtime_error_delete", None, _P)
_error_trace = bind("wasmtime_error_wasm_trace", None, _P, _P)
_has_exception = bind("wasmtime_context_has_exception", ctypes.c_bool, _P)
_take_exception = bind("wasmtime_context_take_exception", ctypes.c_bool, _P, _P)
_unroot_exception = bind("wasmtime_exnref_unroot", None, _P)
_bytes_delete = bind("wasm_byte_vec_delete", None, _P)

ENTRY: Callable[[Callable[..., None]], Any] = ctypes.CFUNCTYPE(
    None, _P, _P, _P, _SIZE, _P, _SIZE, _P, _P
)
"""``wasmtime_func_async_callback_t``.

Its parameters: env, caller, args, nargs, results, nresults, trap, continuation.
"""
CONTINUATION: Callable[[Callable[[int], bool]], Any] = ctypes.CFUNCTYPE(ctypes.c_bool, _P)
"""``wasmtime_func_async_continuation_callback_t``: takes env, returns True if the host call is
done."""
write_continuation = Struct("@PPP").pack
"""``wasmtime_async_continuation_t``: callback, env, finalizer."""
CONTINUATION_SIZE: Final = 24

ADDRESS_SPACE: Final = memoryview((ctypes.c_char * (1 << 62)).from_address(0)).cast("B")
"""The memory of the process, indexed by address: to write to it needs no function call."""

# A `wasmtime_val_t` is a kind, then a union at offset 8. The constants below lay out one value.
VALUE_SIZE: Final = ctypes.sizeof(ffi.wasmtime_val_t)
FIRST_VALUE: Final[int] = ffi.wasmtime_val_t.of.offset
"""Where the first value of an array is; the next ones follow in steps of `VALUE_SIZE`."""
_KINDS: Final[dict[str, tuple[int, str]]] = {
    "i32": (ffi.WASMTIME_I32.value, "i"),
    "i64": (ffi.WASMTIME_I64.value, "q"),
    "f32": (ffi.WASMTIME_F32.value, "f"),
    "f64": (ffi.WASMTIME_F64.value, "d"),
    "v128": (ffi.WASMTIME_V128.value, "16s"),
}
_VECTOR_SIZE: Final = 16
_LARGEST_VALUE: Final = 16
"""Bytes of a vector, and of a function's reference."""
_FUNCREF: Final[int] = ffi.WASMTIME_FUNCREF.value
_put_vector: Final = Struct("16s").pack_into


def _put_v128(buffer: bytearray, at: int, value: Any) -> None:
    """Write a vector; raise TypeError for what is not 16 bytes: `Struct` would cut or fill them."""
    if value.__class__ is not bytes or len(value) != _VECTOR_SIZE:
        raise TypeError
    _put_vector(buffer, at, value)


_PUT: Final[dict[str, Callable[..., None]]] = {"f32": put_f32, "f64": put_f64, "v128": _put_v128}


def values_taker(types: Sequence[ValueType]) -> Callable[[bytes | bytearray], tuple[Any, ...]]:
    """A function that reads an array of values of these types, without their kinds."""
    parts = ["<"]
    for type_ in types:
        _, letter = _KINDS[type_]
        tail = VALUE_SIZE - FIRST_VALUE - Struct(letter).size
        parts.append(f"{FIRST_VALUE}x{letter}{tail}x")
    take = Struct("".join(parts)).unpack_from
    if "f32" not in types:
        return take
    places = [
        at if type_ == "f32" else -1
        for type_, (_, at) in zip(types, value_places(types), strict=True)
    ]
    return nans_kept(take, places)


def value_places(types: Sequence[ValueType]) -> tuple[tuple[Callable[..., None], int], ...]:
    """For each value of an array, the function that writes it, and its offset."""
    return tuple(
        (
            _PUT.get(type_) or Struct("<" + _KINDS[type_][1]).pack_into,
            k * VALUE_SIZE + FIRST_VALUE,
        )
        for k, type_ in enumerate(types)
    )


def blank_values(types: Sequence[ValueType]) -> bytes:
    """An array of zeros, of these types."""
    return b"".join(bytes([_KINDS[type_][0]]).ljust(VALUE_SIZE, b"\0") for type_ in types)


_EXTERN_FUNC: Final[int] = ffi.WASMTIME_EXTERN_FUNC.value
_EXTERN_MEMORY: Final[int] = ffi.WASMTIME_EXTERN_MEMORY.value

STACK: Final = 512 << 10
"""Bytes of stack that a guest may use, by default: as Wasmtime's."""

_STACK_OF_PYTHON: Final = (9 << 20) - STACK
"""Bytes of address space that a fiber's stack has beside the guest's part. Little Python code runs
on it (`unchecked`). But Python 3.11 may run a finalizer there, and any version a trace function. Up
to 3.13, Python limits their recursion by a count that suits a thread's 8 MiB: 1,000 levels of
``sorted(key=...)`` take 3 MiB in 3.11, and 4.9 in 3.13. Only the used part takes memory."""

TABLES: Final = 16
"""Maximum tables of one instance: more than any compiler emits. Each may have up to
``limits.table_elements``."""

MEMORIES: Final = 16
"""Maximum memories of one instance."""

MOST_MEMORY: Final = 1 << 40
"""Bytes that a limit of memory may allow; a guest with addresses of 32 bits has 4 GiB at most."""

SHOWN: Final = "wasmpool:"
"""What the names begin with by which modules in a component show its memories and allocators."""
SHOWN_MEMORY: Final = f"{SHOWN}memory-"
"""The same of memories."""

_ONE: Final = number(1)
"""The deadline of an epoch, also a number of 64 bits: a guest yields at the next tick."""

_UNKNOWN: Final = (1 << 8 * ctypes.sizeof(_SIZE)) - 1
"""An offset that Wasmtime does not know."""

_HEAP_IS_FULL: Final = "GC heap out of memory"
"""In Wasmtime's words: an object or an exception has no room in the heap, which is limited."""

LONGEST: Final = 200
"""Bytes of a function's name in a frame, since the guest chooses the name."""


_Addressable: Final = ctypes.c_char * MOST_MEMORY
"""The address space of a guest."""

NO_ERRORS: Final = bytes(2 * ctypes.sizeof(_P))
"""Two null pointers: where a call stores a trap or an error."""


class CApiError(Exception):
    """Wasmtime's message for a failure other than a trap; the caller adds the context."""


def raise_error(pointer: int | None) -> None:
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
    """The pointer in an object of the wheel. The object must stay alive while it is used."""
    return ctypes.cast(managed.ptr(), _P).value or 0


# --- engine and modules ---------------------------------------------------------------------


SETTINGS: Final = {
    "epoch_interruption": True,
    "wasm_memory64": True,
    "wasm_multi_memory": True,
    "wasm_gc": True,
    "wasm_function_references": True,
    "wasm_exceptions": True,
    "wasm_wide_arithmetic": True,
    "wasm_threads": False,
    "wasm_stack_switching": False,
}
"""The settings that compiled code depends on: ``wasmtime_config_<name>_set`` in the C API. The rest
of WebAssembly 3.0 is on by default. Wide arithmetic is newer, and on by default from version 50."""


def new_engine(
    stack: int = STACK, slots: Slots | None = None, settings: Mapping[str, bool] = SETTINGS
) -> wasmtime.Engine:
    """An engine whose guests may use ``stack`` bytes of stack; with ``slots`` it is a pooled one.

    Guests can be interrupted because they yield at epochs. Features that are off are not supported:
    a module that needs one is refused when it is compiled, with an error that names the feature.
    Compiled code depends on neither, so engines can share it in serialized form.
    """
    config = wasmtime.Config()
    for name, value in settings.items():
        _set(config, name, value)
    config.max_wasm_stack = stack
    _set_async_stack(raw(config), stack + _STACK_OF_PYTHON)
    if slots is not None:
        _use_slots(raw(config), slots)
    return wasmtime.Engine(config)


def _set(config: wasmtime.Config, name: str, value: bool) -> None:  # noqa: FBT001 - a setting
    if hasattr(type(config), name):
        setattr(config, name, value)
    else:
        bind(f"wasmtime_config_{name}_set", None, _P, ctypes.c_bool)(raw(config), value)


class Slots:
    """How much a pooled engine has room for; see ``wasmtime_pooling_allocation_config_t``.

    Attributes:
        instances: each with a linear memory, a table, and a heap for objects, at most.
        memory: bytes of address space for each memory.
        table: elements of each table.
        stacks: stacks of calls, the nested ones among them.
        kept_memory, kept_table, kept_stack: bytes that stay resident in a slot that is free.
        warm: free slots that keep memory at all.
    """

    __slots__ = (
        "instances", "kept_memory", "kept_stack", "kept_table", "memory", "stacks", "table", "warm",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - each has its name
        self,
        *,
        instances: int,
        memory: int,
        table: int,
        stacks: int,
        kept_memory: int,
        kept_table: int,
        kept_stack: int,
        warm: int,
    ) -> None:
        self.instances: int = instances
        self.memory: int = memory
        self.table: int = table
        self.stacks: int = stacks
        self.kept_memory: int = kept_memory
        self.kept_table: int = kept_table
        self.kept_stack: int = kept_stack
        self.warm: int = warm

    def address_space(self, stack: int) -> int:
        """About how many bytes of address space an engine with them takes."""
        memory = self.memory + (1 << 25)  # with the guard
        stack += _STACK_OF_PYTHON
        rest = 1 << 30  # its own, and that of modules that are loaded next
        return self.instances * (2 * memory + self.table * 8) + self.stacks * stack + rest


def _use_slots(config: int, slots: Slots) -> None:
    pool = _new_pooling_config()
    for name, value in (
        ("total_core_instances", 1 << 30),  # helpers are instances, too
        ("total_memories", 2 * slots.instances),  # a heap is one, too
        ("total_tables", slots.instances),
        ("total_stacks", slots.stacks),
        ("total_gc_heaps", slots.instances),
        ("max_memory_size", slots.memory),
        ("table_elements", slots.table),
        ("linear_memory_keep_resident", slots.kept_memory),
        ("table_keep_resident", slots.kept_table),
        ("async_stack_keep_resident", slots.kept_stack),
        ("max_unused_warm_slots", slots.warm),
    ):
        bind(f"wasmtime_pooling_allocation_config_{name}_set", None, _P, _SIZE)(pool, value)
    _set_pooling(config, pool)
    _delete_pooling_config(pool)


def library() -> str:
    """The path of Wasmtime's shared library, for a process that does not import the wheel."""
    return str(ffi.filename)


def engine_key() -> str:
    """A string for what compiled code depends on besides the module: version and settings."""
    return f"wasmtime-{version()}-" + ",".join(name for name, on in SETTINGS.items() if on)


def text_to_binary(text: str | bytes) -> bytes:
    """Convert the text format (UTF-8) to the binary format."""
    try:
        return bytes(wasmtime.wat2wasm(text))
    except wasmtime.WasmtimeError as error:
        raise CApiError(str(error)) from None


def compile_binary(engine: wasmtime.Engine, binary: bytes) -> wasmtime.Module:
    """Compile a binary. This releases the interpreter's lock, and uses all cores."""
    try:
        return wasmtime.Module(engine, binary)
    except wasmtime.WasmtimeError as error:
        raise CApiError(str(error)) from None


def serialize(module: wasmtime.Module) -> bytes:
    """The compiled code of a module, for `deserialize`."""
    return bytes(module.serialize())


def deserialize(engine: wasmtime.Engine, code: bytes) -> wasmtime.Module:
    """The module of compiled code from `serialize`. Nothing checks the code before it runs."""
    try:
        return wasmtime.Module.deserialize(engine, code)
    except wasmtime.WasmtimeError as error:
        raise CApiError(str(error)) from None


# --- linking --------------------------------------------------------------------------------


class Linker:
    """The functions that a module may import."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._linker = wasmtime.Linker(engine)
        self._kept: list[Any] = []  # every object whose address the C side holds

    def define(self, module: str, name: str, type_: FunctionType, entry: Any, index: int) -> None:
        """Define a function: each call of it calls ``entry`` with ``index`` as its env."""
        signature = _new_function_type(type_)
        first, second = module.encode(), name.encode()
        self._kept.append(entry)
        error = _define_async(
            raw(self._linker), first, len(first), second, len(second),
            ctypes.cast(signature, _P), ctypes.cast(entry, _P), index, None,
        )  # fmt: skip
        ffi.wasm_functype_delete(signature)
        raise_error(error)

    def keep_for(self, module: wasmtime.Module) -> Linkable:
        """Make a module ready to be linked once more, to an instance of each store."""
        return Linkable(self, module)

    def copy(self) -> int:
        """A copy of the linker, to be deleted by `LinkedOnce`."""
        copied: int = _linker_clone(raw(self._linker))
        return copied

    def prepare(self, module: wasmtime.Module) -> Prepared:
        """Resolve the module's imports; raises CApiError if one is missing."""
        try:
            return Prepared(self._linker.instantiate_pre(module), self)
        except wasmtime.WasmtimeError as error:
            raise CApiError(str(error)) from None


class Prepared:
    """A module with its imports resolved, ready to be instantiated."""

    __slots__ = ("_kept", "pointer")

    def __init__(self, pre: wasmtime.InstancePre, linker: Linker) -> None:
        self._kept: tuple[Any, Any] = pre, linker  # keep alive what `pointer` refers to
        self.pointer: Any = pointer(raw(pre))


class Linkable:
    """A module with the host functions that it imports; the rest is in an instance of each store.

    Wasmtime links a module once for all stores only if all that it imports belongs to none.
    """

    __slots__ = ("linker", "module")

    def __init__(self, linker: Linker, module: wasmtime.Module) -> None:
        self.linker: Linker = linker
        self.module: wasmtime.Module = module

    def link(self, store: Store, name: str, other: SideInstance) -> LinkedOnce:
        """Link it to another instance of a store, whose exports it imports by ``name``.

        Raises:
            CApiError: a host function has the name of one of these exports.
        """
        linked = LinkedOnce(self)
        linked.define(store, name, other)
        return linked


class LinkedOnce:
    """A module that is linked for one store. It must be alive until its instance has started."""

    __slots__ = ("_kept", "_linker")

    def __init__(self, linkable: Linkable) -> None:
        self._kept = linkable
        self._linker = linkable.linker.copy()

    def define(self, store: Store, name: str, other: SideInstance) -> None:
        key = name.encode()
        raise_error(
            _linker_define_instance(self._linker, store.context, key, len(key), other.address)
        )

    def begin(self, store: Store) -> partial[int]:
        """A function that makes the future that creates the instance."""
        return self._begin(store, self._kept.module, store.arena.instance_at)

    def begin_other(
        self, store: Store, module: wasmtime.Module, other: SideInstance
    ) -> partial[int]:
        """The same for another module, which imports from the same instances."""
        return self._begin(store, module, pointer(other.address))

    def _begin(self, store: Store, module: wasmtime.Module, at: Any) -> partial[int]:
        arena = store.arena
        return partial(
            _linker_instantiate_async, self._linker, store.context, raw(module),
            at, arena.trap_at, arena.error_at,
        )  # fmt: skip

    def __del__(self) -> None:
        if self._linker:
            linker, self._linker = self._linker, 0
            _linker_delete(linker)


class SideInstance:
    """An instance beside the guest, in the same store."""

    __slots__ = ("_instance", "_store", "address")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._instance = ffi.wasmtime_instance_t()
        self.address: int = addressof(self._instance)

    def begin(self, prepared: Prepared) -> partial[int]:
        """A function that makes the future that creates it."""
        store = self._store
        return partial(
            instantiate_async, prepared.pointer, store.context_at, pointer(self.address),
            store.arena.trap_at, store.arena.error_at,
        )  # fmt: skip

    def export(self, name: str) -> Place:
        """Where one of its exports is, once it was created."""
        place = Place(name)
        self._store.find_in(pointer(self.address), place)
        return place


def _new_function_type(type_: FunctionType) -> Any:
    """A ``wasm_functype_t``, to be deleted. The wheel's own class aborts on a v128."""
    vectors = [_value_types(types) for types in (type_.params, type_.results)]
    return ffi.wasm_functype_new(*map(ctypes.byref, vectors))  # it takes the vectors


def _value_types(types: Sequence[ValueType]) -> Any:
    vector = ffi.wasm_valtype_vec_t()
    ffi.wasm_valtype_vec_new_uninitialized(ctypes.byref(vector), len(types))
    for k, type_ in enumerate(types):
        if type_ == "v128":
            vector.data[k] = ffi.wasmtime_wasm_valtype_v128()
        else:
            vector.data[k] = ffi.wasm_valtype_new(ctypes.c_uint8(_KINDS[type_][0]))
    return vector


# --- stores ---------------------------------------------------------------------------------


class Failure:
    """Why a guest's call did not return: its trap, its exception, or an error of Wasmtime.

    ``code`` is None for an error of Wasmtime, which could not continue.
    """

    __slots__ = ("code", "frames", "message")

    def __init__(self, code: str | None, message: str, frames: tuple[Frame, ...] = ()) -> None:
        self.code: str | None = code
        self.message: str = message
        self.frames: tuple[Frame, ...] = frames


class Place:
    """Where the handle of an export is written: an extern, and the export's name."""

    __slots__ = ("at", "extern", "name")

    def __init__(self, name: str) -> None:
        self.extern: Any = ffi.wasmtime_extern_t()
        self.at: Any = pointer(addressof(self.extern.of))
        """The address of the function, the memory or the global in it."""
        self.name: tuple[Any, Any] = _name_arguments(name)
        """Shared by the places of a name; where the handle is written takes 140 bytes to keep."""


@lru_cache(maxsize=1024)
def _name_arguments(name: str) -> tuple[Any, Any]:
    """The arguments for a name, which all instances share."""
    key = name.encode()
    return ctypes.c_char_p.from_param(key), number(len(key))


class Arena:
    """The buffers of one store, at fixed addresses.

    A store that follows on one that was deleted takes them over: to make them, and the arguments
    that point to them, takes longer than to make the store.
    """

    __slots__ = (
        "_instance", "base", "content", "error_at", "errors", "instance_at", "memories", "memory",
        "trap_at", "view",
    )  # fmt: skip

    def __init__(self, memories: Sequence[str]) -> None:
        """``memories``: the names that the memories are exported by."""
        self.errors: bytearray = bytearray(NO_ERRORS)
        at = address(self.errors)
        self.trap_at: Any = pointer(at)
        self.error_at: Any = pointer(at + ctypes.sizeof(_P))
        self._instance = ffi.wasmtime_instance_t()
        self.instance_at: Any = pointer(addressof(self._instance))
        self.memories: tuple[Place, ...] = tuple(self.place(name) for name in memories)
        named = dict(zip(memories, self.memories, strict=True))
        self.memory: Place | None = named.get("memory")
        # The memory that starts at `base`, and all addresses after it, mapped or not.
        self.base: int = 0
        self.content: Any = None
        self.view: Any = None

    def place(self, name: str) -> Place:
        """Make a place for the handle of an export."""
        return Place(name)


class Store:
    """One store and the instance in it, by address.

    Inside a callback, `context_data` returns the store's ``key``. The buffers are those of an
    outermost call: they stay at their addresses as long as the store exists.
    """

    __slots__ = (
        "_added", "_is_measured", "_memory_at", "_size", "_store", "arena", "context",
        "context_at", "errors", "has_run", "started",
    )  # fmt: skip

    def __init__(
        self, engine: Any, key: int, limits: Sequence[Any], arena: Arena, added: int = 0
    ) -> None:
        """Make a store.

        Args:
            engine: its `pointer`.
            key: what `context_data` returns.
            limits: from `store_limits`.
            arena: its buffers, which no other store uses at the same time.
            added: bytes before the code of the compiled module that its source does not have.
        """
        self._added = added
        self.arena: Arena = arena
        self._store = _store_new(engine, pointer(key), None)
        store_at = pointer(self._store)
        self.context: int = _store_context(store_at)
        self.context_at: Any = pointer(self.context)
        _store_limiter(store_at, *limits)
        _set_epoch_deadline(self.context_at, _ONE)
        _yield_every(self.context_at, _ONE)
        self.errors: bytearray = arena.errors
        """Where a call stores pointers to its trap and to its error, for `take_failure`."""
        self._memory_at: Any = None
        self._size = -1
        """Bytes of the memory as of the last `_refresh_memory`; -1 before the first."""
        self._is_measured = False
        """True if that memory is the only one."""
        self.has_run: bool = True
        """True if the guest has run since then; set by the code that runs it."""
        self.started: bool = False
        """True once `take_instance` was called."""

    def delete(self) -> None:
        """Free the store; no future of it may be alive. Safe to call again."""
        if self._store:
            pointer, self._store, self.context = self._store, 0, 0
            _store_delete(pointer)

    def begin_instance(self, prepared: Prepared) -> partial[int]:
        """A function that makes the future that creates the instance."""
        arena = self.arena
        return partial(
            instantiate_async, prepared.pointer, self.context_at, arena.instance_at,
            arena.trap_at, arena.error_at,
        )  # fmt: skip

    def find(self, place: Place) -> bool:
        """Write the handle of an export to its place; return False if there is no such export."""
        return self.find_in(self.arena.instance_at, place)

    def find_in(self, instance_at: Any, place: Place) -> bool:
        """Do the same in an instance at an address."""
        at = pointer(addressof(place.extern))
        found: bool = _export_get(self.context_at, instance_at, *place.name, at)
        return found

    def export(self, name: str) -> Any:
        """The export's handle (an extern that must stay alive while it is used), or None."""
        place = self.arena.place(name)
        return place.extern if self.find(place) else None

    def take_instance(self) -> None:
        """The instance exists now: look up its memories.

        The host reads and writes the one called "memory"; it measures them all.
        """
        self.started = True
        arena = self.arena
        for place in arena.memories:
            self.find(place)
        if arena.memory is not None:
            self._memory_at = arena.memory.at
            self._is_measured = len(arena.memories) == 1

    def memory_region(self) -> tuple[int, int]:
        """The memory's base and size, until the guest runs again; (0, 0) without a memory."""
        if self._memory_at is None:
            return 0, 0
        return _memory_data(self.context_at, self._memory_at) or 0, self.memory_size()

    def memory_size(self) -> int:
        """Bytes of the memory that the host can read and write; 0 without one."""
        if self._memory_at is None:
            return 0
        size: int = _memory_size(self.context_at, self._memory_at)
        return size

    def total_memory(self) -> int:
        """Bytes of all linear memories, exported or not."""
        if self._is_measured and not self.has_run:
            return self._size
        total = 0
        if self.started:
            for place in self.arena.memories:
                total += _memory_size(self.context_at, place.at)
        return total

    def region_of(self, memory: Any) -> tuple[int, int]:
        """Base and size of a memory, an extern of the instance, until the guest runs again."""
        return _region(self.context, memory)

    def read(self, ptr: int, size: int) -> bytes | None:
        """A copy of the ``size`` bytes at ``ptr``; None if not all are inside the memory."""
        if self.has_run:
            self._refresh_memory()
        end = ptr + size
        if end > self._size:
            return None
        copied: bytes = self.arena.content[ptr:end]
        return copied

    def write(self, ptr: int, data: bytes) -> bool:
        """Copy ``data`` to ``ptr``; return False, and write nothing, if not all of it fits."""
        if self.has_run:
            self._refresh_memory()
        end = ptr + len(data)
        if end > self._size:
            return False
        self.arena.view[ptr:end] = data
        return True

    def _refresh_memory(self) -> None:
        """Make ``content``, ``view`` and `_size` those of the current memory.

        The first two span the guest's whole address space, whether it is mapped or not. So they
        have to be made again only if the memory is elsewhere: it has moved, which is rare, or the
        arena's last store was in another slot. A slice of them costs a fifth of `ctypes.string_at`
        or `ctypes.memmove`. `read` and `write`, which check that a slice is inside the memory, are
        the only users.
        """
        at = self._memory_at
        size = 0 if at is None else _memory_size(self.context_at, at)  # `memory_size`, written out
        self.has_run = False
        if size == self._size:  # it has not grown, and so not moved
            return
        self._size = size
        base = (_memory_data(self.context_at, self._memory_at) or 0) if size else 0
        arena = self.arena
        if base != arena.base:
            arena.base = base
            arena.content = _Addressable.from_address(base)
            arena.view = memoryview(arena.content).cast("B")

    def take_failure(self, errors: bytearray | None = None) -> Failure | None:
        """Take the failure of the last call, or None if it returned.

        The frames have their offsets in the module's source. ``errors``: those of a nested call.
        """
        failure = take_failure(self.context, self.errors if errors is None else errors)
        if failure is None or not self._added:
            return failure
        frames = (Frame(f.function, max(0, f.offset - self._added)) for f in failure.frames)
        return Failure(failure.code, failure.message, tuple(frames))


class Window:
    """A memory of a store, to be read and written many times between two runs of its guest."""

    __slots__ = ("_at", "_base", "_context_at", "_kept", "_view")

    def __init__(self, store: Store, memory: Any) -> None:
        """``memory`` is its extern, which is kept alive here."""
        self._context_at = store.context_at
        self._at = pointer(addressof(memory.of))
        self._kept = memory
        self._base = 0
        self._view: Any = None

    def open(self) -> tuple[Any, int]:
        """A view of its bytes, and how many there are now; use them before the guest runs again.

        The view spans all addresses behind the base, mapped or not, as in `Store`: it has to be
        made again only if the memory has moved. So compare with the size before each use.
        """
        base = _memory_data(self._context_at, self._at) or 0
        if base != self._base:
            self._base = base
            self._view = memoryview(_Addressable.from_address(base)).cast("B")
        return self._view, _memory_size(self._context_at, self._at)


def store_limits(
    memory: int,
    table_elements: int,
    *,
    instances: int = 1_000,
    tables: int = TABLES,
    memories: int = MEMORIES,
) -> tuple[Any, ...]:
    """What each store is bounded by: bytes of each memory, elements of each table.

    The instances are the guest, and one helper for each export that exchanges bytes.
    """
    bounds = (memory, table_elements, instances, tables, memories)
    return tuple(_limit(bound) for bound in bounds)


def address(buffer: bytearray) -> int:
    """The address of a buffer's bytes, which is fixed: the buffer can no longer be resized."""
    return addressof(ctypes.c_char.from_buffer(buffer)) if buffer else 0


def func_at(extern: Any) -> int:
    """The address of an extern's function, valid as long as the extern is alive."""
    return addressof(extern.of)


def _is_memory(extern: Any) -> bool:
    kind: int = extern.kind
    return kind == _EXTERN_MEMORY


def is_function(extern: Any) -> bool:
    """Return True if the extern is a function."""
    kind: int = extern.kind
    return kind == _EXTERN_FUNC


def read_global_i32(context: int, extern: Any) -> int:
    """The value of a global of type i32."""
    value = ffi.wasmtime_val_t()
    _global_get(context, addressof(extern.of), addressof(value))
    return int(value.of.i32)


def read_global(context: int, extern: Any, value: bytearray) -> None:
    """Read a global's value into an array of one."""
    _global_get(context, addressof(extern.of), address(value))


def write_global(context: int, extern: Any, value: bytearray) -> None:
    """Set a mutable global to the value in an array of one, which is of its type."""
    raise_error(_global_set(context, addressof(extern.of), address(value)))


def read_global_bytes(context: int, extern: Any) -> bytes:
    """The value of a global as in memory; of a function, what tells it from others, or zeros."""
    value = ffi.wasmtime_val_t()
    _global_get(context, addressof(extern.of), addressof(value))
    return _union_of(value)


def table_size(context: int, extern: Any) -> int:
    """The number of a table's elements."""
    return int(_table_size(context, addressof(extern.of)))


def table_functions(context: int, extern: Any, start: int, stop: int) -> bytes:
    """What tells the functions of a table from others, or zeros for a null; one after another.

    The table must be one of functions: the C API aborts at other elements.
    """
    table, value = addressof(extern.of), ffi.wasmtime_val_t()
    at = addressof(value)
    found: list[bytes] = []
    for index in range(start, stop):
        _table_get(context, table, index, at)
        found.append(_union_of(value))
    return b"".join(found)


def _union_of(value: Any) -> bytes:
    """The 16 bytes of a value without its kind; those of a null function are zeros."""
    if value.kind == _FUNCREF and not value.of.funcref.store_id:
        return bytes(_LARGEST_VALUE)
    return bytes(value)[FIRST_VALUE : FIRST_VALUE + _LARGEST_VALUE]


def caller_memory_region(caller: int) -> tuple[int, int]:
    """Base and size of the memory of a guest that has called a host function."""
    found = ffi.wasmtime_extern_t()
    if not _caller_export(caller, b"memory", 6, addressof(found)):
        return 0, 0
    return _region(caller_context(caller), found) if _is_memory(found) else (0, 0)


def caller_function(caller: int, name: str) -> Any:
    """The handle of an exported function of a guest that has called a host function, or None."""
    found = ffi.wasmtime_extern_t()
    key = name.encode()
    if not _caller_export(caller, key, len(key), addressof(found)) or not is_function(found):
        return None
    return found


def _region(context: int, memory: Any) -> tuple[int, int]:
    context_at, memory_at = pointer(context), pointer(addressof(memory.of))
    return _memory_data(context_at, memory_at) or 0, _memory_size(context_at, memory_at)


# --- failures of calls ----------------------------------------------------------------------


def new_errors() -> bytearray:
    """A buffer where a call stores pointers to its trap and to its error."""
    return bytearray(NO_ERRORS)


def take_failure(context: int, errors: bytearray) -> Failure | None:
    """Read and free the trap or the error of a call; None if it returned."""
    trap, error = Struct("@PP").unpack(errors)
    errors[:] = NO_ERRORS
    if trap:
        return _take_trap(trap)
    return _take_stop(context, error) if error else None


def _take_stop(context: int, error: int) -> Failure:
    """Read and free an error: an exception that the guest has not caught, or Wasmtime's own."""
    frames = _frames(error, _error_trace)
    message = _reason(_take_error(error))
    if _has_exception(context):
        _drop_exception(context)
        return Failure("uncaught-exception", "uncaught exception", frames)
    return Failure("out-of-memory" if _HEAP_IS_FULL in message else None, message, frames)


def _drop_exception(context: int) -> None:
    """Free the exception, so that the store, which keeps it, may go on."""
    exception = ffi.wasmtime_exnref_t()
    if _take_exception(context, addressof(exception)):
        _unroot_exception(addressof(exception))


def _take_trap(pointer: int) -> Failure:
    number = ctypes.c_uint8()
    code = None
    if _trap_code(pointer, addressof(number)):
        code = wasmtime.TrapCode(number.value).name.lower().replace("_", "-")
    text = ffi.wasm_byte_vec_t()
    _trap_message(pointer, addressof(text))
    failure = Failure(code, _reason(_take_text(text)), _frames(pointer, _trap_trace))
    _trap_delete(pointer)
    return failure


def _reason(message: str) -> str:
    """The reason in Wasmtime's report, without the report's own backtrace."""
    _, found, cause = message.partition("Caused by:")
    lines = (cause if found else message).strip().splitlines()
    return lines[0].strip().removeprefix("0: ").removeprefix("wasm trap: ") if lines else "trap"


def _frames(owner: int, trace: Callable[[int, int], None]) -> tuple[Frame, ...]:
    vector = ffi.wasm_frame_vec_t()
    trace(owner, addressof(vector))
    frames = tuple(_frame(ctypes.cast(vector.data[k], _P).value or 0) for k in range(vector.size))
    _frames_delete(addressof(vector))
    return frames


def _frame(pointer: int) -> Frame:
    name = _frame_name(pointer)
    if name:
        text = ffi.wasm_byte_vec_t.from_address(name)
        start = ctypes.string_at(text.data, min(text.size, LONGEST))
        function = start.decode("utf-8", "backslashreplace")  # a character may be cut in two
    else:
        function = f"function[{_frame_index(pointer)}]"
    offset = _frame_offset(pointer)
    return Frame(function, 0 if offset == _UNKNOWN else offset)


# --- the helper module for the exchange of bytes ----------------------------------------------

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
    """A small module, instantiated in the guest's store: it frees and calls in one crossing.

    Its ``run(previous, [payload]) -> packed`` frees the previous result, then calls the export.
    While it frees, its global ``freeing`` is 1: after a trap it tells which of the two trapped.
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
        """Begin to create an instance that is linked to two functions of the store's guest."""
        linker = wasmtime.Linker(self._engine)
        for name, extern in ((b"call", call), (b"free", free)):
            raise_error(
                _linker_define(raw(linker), store.context, b"guest", 5, name, 4, addressof(extern))
            )
        return Beginning(store, linker, self._modules[takes_payload])


class Beginning:
    """A helper instance that is being created; it keeps alive what its future needs."""

    def __init__(self, store: Store, linker: wasmtime.Linker, module: wasmtime.Module) -> None:
        self._store = store
        self._linker = linker
        self._module = module
        self._instance = ffi.wasmtime_instance_t()

    def future(self) -> int:
        """The future that creates the instance."""
        future: int = _linker_instantiate_async(
            raw(self._linker), self._store.context, raw(self._module),
            addressof(self._instance), self._store.arena.trap_at, self._store.arena.error_at,
        )  # fmt: skip
        return future

    def export(self, name: str) -> Place:
        """Where one of its exports is, once the future is done."""
        place = Place(name)
        self._store.find_in(pointer(addressof(self._instance)), place)
        return place


def empty_module(engine: wasmtime.Engine) -> wasmtime.Module:
    """The module of `EmptyInstance`."""
    return wasmtime.Module(engine, '(module (memory (export "memory") 0))')


class EmptyInstance:
    """An instance that has a slot of a pooled engine and uses nothing of it."""

    def __init__(self, engine: Any, module: wasmtime.Module) -> None:
        """Make one, without a fiber: it runs nothing.

        Args:
            engine: its `pointer`.
            module: from `empty_module`.
        """
        self._store: int = _store_new(engine, pointer(0), None)
        self._context: int = _store_context(pointer(self._store))
        instance, trap = ffi.wasmtime_instance_t(), _P()
        try:
            raise_error(
                _instance_new(
                    self._context, raw(module), None, 0, addressof(instance), addressof(trap)
                )
            )
            assert not trap
            self._memory = Place("memory")
            at = pointer(addressof(instance))
            _export_get(
                pointer(self._context), at, *self._memory.name,
                pointer(addressof(self._memory.extern)),
            )  # fmt: skip
        except BaseException:
            self.delete()
            raise

    def give_back(self, size: int) -> None:
        """Have the kernel take the first ``size`` bytes of its slot's memory.

        Raises:
            OSError: the kernel has refused it.
        """
        base = _memory_data(pointer(self._context), self._memory.at)
        if _madvise(base, size, mmap.MADV_DONTNEED):
            code = ctypes.get_errno()
            raise OSError(code, f"madvise: {os.strerror(code)}")

    def delete(self) -> None:
        """Free the slot."""
        _store_delete(self._store)
