"""Wasmtime's C API of components: the other module that uses it, beside `_capi`.

It is imported with the first component, and then checks that the functions it needs are there.

A value is a ``wasmtime_component_val_t`` of 32 bytes: a kind, then a union at offset 8, which holds
a scalar, or the size and the address of what is inside. The contract is in
``wasmtime/component/val.h``:
https://github.com/bytecodealliance/wasmtime/tree/main/crates/c-api/include. What it says of
ownership is why values go the ways that they go here:

* Wasmtime reads the arguments of a call, and leaves them to the caller. So they are laid out in
  buffers of Python's, and nothing has to be freed.
* The result of a call, and the arguments of a host function, belong to Wasmtime's allocator: they
  are read, then freed by `delete_value`. Those arguments are gone when the entry callback returns,
  so it takes them: it copies the values, and leaves ``false`` in their places.
* The results of a host function are freed by Wasmtime, so `clone_value` makes them.
"""

from __future__ import annotations

import ctypes
import re
from ctypes import addressof
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import wasmtime
from wasmtime import _ffi as ffi

from . import _capi
from ._capi import SETTINGS as MODULE_SETTINGS
from ._capi import CApiError, Failure, Store, bind, pointer, raise_error, raw

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence


__all__ = [
    "CONTENT",
    "DESTRUCTOR",
    "ENTRY",
    "KINDS",
    "OF",
    "SETTINGS",
    "VALUE",
    "ComponentArena",
    "ComponentLinker",
    "ComponentPlace",
    "ComponentStore",
    "EmptyModule",
    "ExportedFunction",
    "PreparedComponent",
    "call_async",
    "clone_value",
    "compile_binary",
    "copy_handle",
    "delete_handle",
    "delete_value",
    "deserialize",
    "engine_key",
    "is_async",
    "limits",
    "new_engine",
    "serialize",
    "wheel",
]

_P = ctypes.c_void_p
_SIZE = ctypes.c_size_t

call_async = bind("wasmtime_component_func_call_async", _P)
clone_value = bind("wasmtime_component_val_clone", None, _P, _P)
delete_value = bind("wasmtime_component_val_delete", None, _P)
delete_handle = bind("wasmtime_component_resource_any_delete", None, _P)
_copy_handle = bind("wasmtime_component_resource_any_clone", _P, _P)
_new_host = bind(
    "wasmtime_component_resource_host_new", _P, ctypes.c_bool, ctypes.c_uint32, ctypes.c_uint32
)
_host_rep = bind("wasmtime_component_resource_host_rep", ctypes.c_uint32, _P)
_delete_host = bind("wasmtime_component_resource_host_delete", None, _P)
_any_to_host = bind("wasmtime_component_resource_any_to_host", _P, _P, _P, _P)
_host_to_any = bind("wasmtime_component_resource_host_to_any", _P, _P, _P, _P)
_instantiate_async = bind("wasmtime_component_linker_instantiate_async", _P)
_linker_new = bind("wasmtime_component_linker_new", _P, _P)
_linker_delete = bind("wasmtime_component_linker_delete", None, _P)
_linker_root = bind("wasmtime_component_linker_root", _P, _P)
_add_instance = bind(
    "wasmtime_component_linker_instance_add_instance", _P, _P, ctypes.c_char_p, _SIZE, _P
)
_add_function = bind(
    "wasmtime_component_linker_instance_add_func_async",
    _P, _P, ctypes.c_char_p, _SIZE, _P, _P, _P,
)  # fmt: skip
_add_resource = bind(
    "wasmtime_component_linker_instance_add_resource",
    _P, _P, ctypes.c_char_p, _SIZE, _P, _P, _P, _P,
)  # fmt: skip
_instance_delete = bind("wasmtime_component_linker_instance_delete", None, _P)
_new_host_type = bind("wasmtime_component_resource_type_new_host", _P, ctypes.c_uint32)
_delete_type = bind("wasmtime_component_resource_type_delete", None, _P)
_export_index = bind("wasmtime_component_get_export_index", _P, _P, _P, ctypes.c_char_p, _SIZE)
_delete_index = bind("wasmtime_component_export_index_delete", None, _P)
_get_function = bind("wasmtime_component_instance_get_func", ctypes.c_bool, _P, _P, _P, _P)
_is_async_type = bind("wasmtime_component_func_type_async", ctypes.c_bool, _P)

ENTRY: Callable[[Callable[..., None]], Any] = ctypes.CFUNCTYPE(
    None, _P, _P, _P, _P, _SIZE, _P, _SIZE, _P, _P
)
"""``wasmtime_component_func_async_callback_t``.

Its parameters: env, context, type, args, nargs, results, nresults, error, continuation.
"""
DESTRUCTOR: Callable[[Callable[[Any, int, int], int]], Any] = ctypes.CFUNCTYPE(
    _SIZE, _P, _P, ctypes.c_uint32
)
"""``wasmtime_component_resource_destructor_t``: takes env, context and rep; returns no error."""

CONTENT: Final[Any] = (ctypes.c_char * (1 << 62)).from_address(0)
"""The memory of the process: a slice by address is a copy of its bytes."""

VALUE: Final = ctypes.sizeof(ffi.wasmtime_component_val_t)
"""Bytes of one value."""
OF: Final[int] = ffi.wasmtime_component_val_t.of.offset
"""Where the union is in it."""

KINDS: Final[Mapping[str, int]] = {
    name: getattr(ffi, f"WASMTIME_COMPONENT_{name.upper()}").value
    for name in (
        "bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char",
        "string", "list", "record", "tuple", "variant", "enum", "option", "result", "flags",
        "resource",
    )
}  # fmt: skip

SETTINGS: Final = {
    **MODULE_SETTINGS,
    "wasm_component_model": True,
    "wasm_component_model_async": False,
    "concurrency_support": False,
}
"""As `_capi.SETTINGS`. Without the concurrency of components, each call is a fiber of its own, as
of a module, and several can be suspended at once without knowing of each other."""

CORE_INSTANCES: Final = 1_000
"""Maximum core instances of one instance of a component."""
TABLES: Final = 64
"""Maximum tables of one instance; each may have up to ``limits.table_elements``."""
MEMORIES: Final = 8
"""Maximum memories of one instance."""


# --- compiled code -----------------------------------------------------------------------------


def new_engine(stack: int) -> wasmtime.Engine:
    """An engine for components, whose guests may use ``stack`` bytes of stack."""
    return _capi.new_engine(stack, settings=SETTINGS)


def engine_key() -> str:
    """A string for what compiled code depends on besides the component."""
    names = ",".join(name for name, on in SETTINGS.items() if on)
    return f"wasmtime-{_capi.version()}-component-{names}"


def compile_binary(engine: wasmtime.Engine, binary: bytes) -> Any:
    """Compile a component. This releases the interpreter's lock, and uses all cores."""
    return _made(partial(wheel().Component, engine, binary))


def deserialize(engine: wasmtime.Engine, code: bytes) -> Any:
    """The component of compiled code from `serialize`. Nothing checks the code before it runs."""
    return _made(partial(wheel().Component.deserialize, engine, code))


def serialize(component: Any) -> bytes:
    """The compiled code of a component, for `deserialize`."""
    return bytes(component.serialize())


def _made(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except wasmtime.WasmtimeError as error:
        raise CApiError(str(error)) from None


def wheel() -> Any:
    """The wheel's own classes of components."""
    from wasmtime import component  # noqa: PLC0415 - it is slow to import

    return component


def is_async(function_type: Any) -> bool:
    """Return True if a function's type, of the wheel's class, is that of an ``async func``."""
    return bool(_is_async_type(raw(function_type)))


# --- linking ----------------------------------------------------------------------------------


class ComponentLinker:
    """The functions and resources that a component may import."""

    def __init__(self, engine: wasmtime.Engine, component: Any) -> None:
        self._engine = engine
        self._kept: list[Any] = [component]  # every object whose address the C side holds
        self._component = component
        self._pointer: int = _linker_new(raw(engine))

    def __del__(self) -> None:
        if self._pointer:
            _linker_delete(self._pointer)
            self._pointer = 0

    def define(
        self,
        interface: str,
        functions: Sequence[tuple[str, Any, int]],
        resources: Sequence[tuple[str, int, Any]],
    ) -> None:
        """Define what an interface has, or the root where it is ``""``.

        Args:
            interface: its name, as the component imports it.
            functions: the name of each, its `ENTRY`, and the env that this is given.
            resources: the name of each, its number, and its `DESTRUCTOR`.
        """
        root = _linker_root(self._pointer)
        try:
            if not interface:
                self._define(root, functions, resources)
                return
            inside = _P()
            key = interface.encode()
            raise_error(_add_instance(root, key, len(key), addressof(inside)))
            try:
                self._define(inside.value, functions, resources)
            finally:
                _instance_delete(inside)
        finally:
            _instance_delete(root)

    def _define(
        self,
        where: int | None,
        functions: Sequence[tuple[str, Any, int]],
        resources: Sequence[tuple[str, int, Any]],
    ) -> None:
        for name, number, destructor in resources:
            key = name.encode()
            type_ = _new_host_type(number)
            self._kept.append(destructor)
            error = _add_resource(
                where, key, len(key), type_, ctypes.cast(destructor, _P), None, None
            )
            _delete_type(type_)
            raise_error(error)
        for name, entry, env in functions:
            key = name.encode()
            self._kept.append(entry)
            raise_error(_add_function(where, key, len(key), ctypes.cast(entry, _P), env, None))

    def prepare(self) -> PreparedComponent:
        """The component with what was defined, ready to be instantiated."""
        return PreparedComponent(self, self._pointer, raw(self._component))


class PreparedComponent(_capi.Prepared):
    """A component and its linker, ready to be instantiated."""

    __slots__ = ("component", "linker")

    def __init__(self, kept: ComponentLinker, linker: int, component: int) -> None:
        self._kept = kept, None  # keep alive what the pointers refer to
        self.linker: Any = pointer(linker)
        self.component: Any = pointer(component)


class ExportedFunction:
    """Where a function is among a component's exports; the same for all its instances."""

    __slots__ = ("_component", "at")

    def __init__(self, component: Any, interface: str, name: str) -> None:
        """The function must be there."""
        self._component = component
        outer = _find_export(component, 0, interface) if interface else 0
        self.at: int = _find_export(component, outer, name)
        if outer:
            _delete_index(outer)

    def __del__(self) -> None:
        if self.at:
            _delete_index(self.at)
            self.at = 0


def _find_export(component: Any, outer: int, name: str) -> int:
    key = name.encode()
    return int(_export_index(raw(component), outer, key, len(key)) or 0)


# --- stores -----------------------------------------------------------------------------------


class ComponentPlace(_capi.Place):
    """Where the handle of an exported function is written."""

    __slots__ = ("function",)

    def __init__(self, function: ExportedFunction) -> None:
        self.extern: Any = ffi.wasmtime_component_func_t()
        self.at: Any = pointer(addressof(self.extern))
        self.function: ExportedFunction = function


class ComponentArena(_capi.Arena):
    """The buffers of a store whose guest is a component."""

    __slots__ = ("_component_instance",)

    def __init__(self) -> None:
        super().__init__(())
        self._component_instance = ffi.wasmtime_component_instance_t()
        self.instance_at = pointer(addressof(self._component_instance))


class ComponentStore(Store):
    """A store and the instance of a component in it.

    Attributes:
        dropped: the numbers of host resources that the guest has dropped, as the destructor
            callback has noted them.
        handles: what the numbers stand for (`HostHandles`).
        payload: bytes that the strings and lists of one call may have.
        guest_handles: how many resources of the guest's the host has.
        forgotten: how many it has had, and can no longer drop.
        drop_resource: drops one of them, by a call; None until the instance has started.
        keeps_resources: True if who makes a call has the instance afterwards, too.
        tenure: counts the tasks that have had the instance.
    """

    __slots__ = (
        "_empty", "_has_all", "_memories", "_searched", "_shown", "drop_resource", "dropped",
        "forgotten", "guest_handles", "handles", "keeps_resources", "payload", "tenure",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - its parts, from one place
        self,
        engine: Any,
        key: int,
        limits: Sequence[Any],
        arena: _capi.Arena,
        *,
        handles: Any,
        payload: int,
        empty: EmptyModule | None,
        memories: int,
    ) -> None:
        """Make a store, as `Store` is made.

        ``empty`` is a module by which to find what is shown, or None if nothing is; ``memories``
        says how many memories are.
        """
        super().__init__(engine, key, limits, arena)
        self.dropped: list[int] = []
        self.handles: Any = handles
        self.payload: int = payload
        self.guest_handles: int = 0
        self.forgotten: int = 0
        self.drop_resource: Callable[[Any], Awaitable[Any]] | None = None
        self.keeps_resources: bool = True
        self.tenure: int = 0
        self._empty = empty
        self._memories = [f"{_capi.SHOWN_MEMORY}{k}" for k in range(memories)]
        self._shown: dict[str, _capi.Place] = {}
        """Memories and functions that were found, by the names that they are shown by."""
        self._has_all = False
        """True once all memories were found."""
        self._searched = False
        """True once they were looked for after the start."""

    def end_tenure(self) -> None:
        """Nobody can use the resources any more that a task has had of the guest's."""
        self.tenure += 1
        self.forgotten += self.guest_handles
        self.guest_handles = 0

    def close_dropped(self) -> None:
        """Close the host resources that the guest has dropped since the last time."""
        while self.dropped:
            self.handles.drop(self.dropped.pop(0))

    def find_memories(self) -> bool:
        """Find all memories that are shown; return False if there are none, or not all there."""
        if not self._has_all and not self._searched and self._memories:
            self._has_all = self.find_shown(self._memories)
            self._searched = self.started
        return self._has_all

    def find_memory(self, number: int) -> None:
        """Find a memory, which is there: a function was lowered with it."""
        if not self._has_all:
            self.find_shown((self._memories[number],))

    def find_shown(self, names: Sequence[str]) -> bool:
        """Look for the instances that show memories and functions; return True if all are found.

        The C API has no way from a component to the core instances in it. But all of them are
        instances of the store like others, and a ``wasmtime_instance_t`` is no more than the
        store's number and theirs, which counts up. So an empty module is instantiated, which has
        the highest number; those below it exist, and some of them have the exports in question.
        That may be done whenever the guest does not run, also while it waits in a host function.
        """
        wanted = [name for name in names if name not in self._shown]
        if wanted and self._empty is not None:
            self._look_for(self._empty, wanted)
        return all(name in self._shown for name in names)

    def _look_for(self, empty: EmptyModule, names: Sequence[str]) -> None:
        store, last = empty.instance_in(self)
        left = {name: _capi.Place(name) for name in names}
        instance = bytearray(_INSTANCE.size)
        at = pointer(_capi.address(instance))
        for index in range(last - 1, -1, -1):
            _INSTANCE.pack_into(instance, 0, store, index)
            found = [name for name, place in left.items() if self.find_in(at, place)]
            self._shown.update((name, left.pop(name)) for name in found)
            if not left:
                return

    def shown(self, name: str) -> Any:
        """The extern of something that was found."""
        return self._shown[name].extern

    def memory(self, number: int) -> tuple[int, int]:
        """The base and the size of a memory that was found, until the guest runs again."""
        return self.region_of(self._shown[self._memories[number]].extern)

    def read_from(self, memory: int, ptr: int, size: int) -> bytes | None:
        """A copy of bytes in a memory that was found; None if not all are inside."""
        base, total = self.memory(memory)
        if ptr + size > total:
            return None
        copied: bytes = CONTENT[base + ptr : base + ptr + size]
        return copied

    def write_to(self, memory: int, ptr: int, content: bytes | bytearray | memoryview) -> bool:
        """Copy bytes into a memory that was found; return False if they are not all inside."""
        base, total = self.memory(memory)
        end = ptr + len(content)
        if end > total:
            return False
        _capi.ADDRESS_SPACE[base + ptr : base + end] = content
        return True

    def total_memory(self) -> int:
        """Bytes of all memories that were found; one that has several names counts once."""
        regions = (self.memory(number) for number in range(len(self._memories)))
        return sum(dict(regions).values())

    def begin_instance(self, prepared: Any) -> partial[int]:
        """A function that makes the future that creates the instance."""
        arena = self.arena
        return partial(
            _instantiate_async, prepared.linker, self.context_at, prepared.component,
            arena.instance_at, arena.error_at,
        )  # fmt: skip

    def find(self, place: _capi.Place) -> bool:
        """Write the handle of an exported function to its place."""
        assert isinstance(place, ComponentPlace)
        found: bool = _get_function(
            self.arena.instance_at, self.context_at, place.function.at, place.at
        )
        return found

    def take_failure(self, errors: bytearray | None = None) -> Failure | None:
        """Take the failure of the last call, or None if it returned."""
        failure = super().take_failure(errors)
        if failure is None or failure.code is not None:
            return failure
        return Failure(_trap_code(failure.message), failure.message, failure.frames)

    def lower_resource(self, rep: int, number: int) -> int:
        """A new handle of a host resource, to be freed by `delete_handle`.

        The host owns it. To be passed as a borrowed one it need not be one itself, and up to
        version 49 there can be none between two calls.
        """
        host = _new_host(True, rep, number)  # noqa: FBT003 - of the C API
        found = _P()
        try:
            raise_error(_host_to_any(self.context, host, addressof(found)))
        finally:
            _delete_host(host)
        return found.value or 0

    def lift_resource(self, handle: int) -> int:
        """The number of a host resource that the guest has passed; the handle is used up."""
        host = _P()
        raise_error(_any_to_host(self.context, handle, addressof(host)))
        rep: int = _host_rep(host)
        _delete_host(host)
        return rep


_INSTANCE: Final = Struct("@QQ")
"""A ``wasmtime_instance_t``: the store's number, and the instance's."""


class EmptyModule:
    """A module without anything in it."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        module = wasmtime.Module(engine, b"\0asm\1\0\0\0")
        self._pre = wasmtime.Linker(engine).instantiate_pre(module)

    def instance_in(self, store: Store) -> tuple[int, int]:
        """The numbers of a store, and of a new instance in it."""
        made = ffi.wasmtime_instance_t()
        arena = store.arena
        future = _capi.instantiate_async(
            pointer(raw(self._pre)), store.context_at, pointer(addressof(made)),
            arena.trap_at, arena.error_at,
        )  # fmt: skip
        try:
            done = _capi.poll(future)
        finally:
            _capi.delete_future(future)
        failed = Store.take_failure(store) is not None
        if failed or not done or ctypes.sizeof(made) != _INSTANCE.size:
            return 0, 0
        number, index = _INSTANCE.unpack(bytes(made))
        return number, index


def copy_handle(handle: int) -> int:
    """Another handle of the same resource, to be freed by `delete_handle`."""
    return int(_copy_handle(handle))


_TRAPS: Final[Mapping[str, str]] = {
    "call stack exhausted": "stack-overflow",
    "out of bounds memory access": "memory-out-of-bounds",
    "unaligned atomic": "heap-misaligned",
    "undefined element: out of bounds table access": "table-out-of-bounds",
    "uninitialized element": "indirect-call-to-null",
    "indirect call type mismatch": "bad-signature",
    "integer overflow": "integer-overflow",
    "integer divide by zero": "integer-division-by-zero",
    "invalid conversion to integer": "bad-conversion-to-integer",
    "wasm `unreachable` instruction executed": "unreachable",
    "null reference": "null-reference",
    "out of bounds array access": "array-out-of-bounds",
    "allocation size too large": "allocation-too-large",
    "cast failure": "cast-failure",
    "cannot enter component instance": "cannot-enter-component",
    "cannot leave component instance": "cannot-leave-component",
    "invalid `char` bit pattern": "invalid-char",
    "string content out-of-bounds": "string-out-of-bounds",
    "list content out-of-bounds": "list-out-of-bounds",
    "invalid variant discriminant": "invalid-discriminant",
    "unaligned pointer": "unaligned-pointer",
}
"""Codes by Wasmtime's words: the C API tells the code of a module's trap only."""

_BROKEN_RULES: Final = (
    ("too much data", "too-much-data"),
    ("string.* out of bounds", "string-out-of-bounds"),
    ("list.* out of bounds|length out of bounds", "list-out-of-bounds"),
    ("realloc|pointer.* memory", "memory-out-of-bounds"),
    ("aligned", "unaligned-pointer"),
    ("discriminant", "invalid-discriminant"),
    ("`char`|char value", "invalid-char"),
    ("utf-8|utf-16|UTF", "invalid-string"),
    ("resource|handle", "bad-handle"),
)
"""Codes by what is in Wasmtime's words where a value breaks the canonical ABI's rules."""


def _trap_code(message: str) -> str | None:
    known = _TRAPS.get(message)
    if known is not None:
        return known
    return next((code for words, code in _BROKEN_RULES if re.search(words, message)), None)


def limits(memory: int, table_elements: int) -> tuple[Any, ...]:
    """What each store is bounded by: bytes of each memory, elements of each table."""
    return _capi.store_limits(
        memory, table_elements, instances=CORE_INSTANCES, tables=TABLES, memories=MEMORIES
    )
