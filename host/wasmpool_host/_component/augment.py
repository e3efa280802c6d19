"""A component with more exports at its end, by which the host does what the C API cannot.

Wasmtime's C API has a value for each item of a list, so that a ``list<u8>`` of a megabyte costs
half a second, and no way to see a component's memory or to run a guest's destructor. All of it is
within a component's reach. So sections are appended to the binary; what was there stays as it is.

* **The same core functions, lifted once more**, to functions of plain integers: a pointer and a
  size for each list. `bytes_call` writes the bytes into the guest's memory itself. The guest's
  allocator and its ``post-return`` are lifted in the same way.
* **A function that drops a resource**, for each that the component defines.
* **A module that is given all memories and exports them**, and does nothing else. The host finds
  its instance in the store (`_capi_component.find_memories`).

A component that cannot be read or extended in this way is compiled as it is. Then its lists go by
values, its memory is not counted, and its resources are dropped with the instance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import attrs

from wasmpool_host import _capi
from wasmpool_host._compile.encoding import signed, sized, unsigned, vector

from .anatomy import Unreadable, read_anatomy
from .imported import import_name
from .shape import core_types, result_types, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .anatomy import Anatomy, Lifted
    from .shape import Shape

__all__ = ["HIDDEN", "Augmented", "RawFunction", "augment"]

HIDDEN: Final = "wasmpool-"
"""What the names of the exports begin with."""

_MODULE, _CORE_INSTANCE, _TYPE, _CANON, _EXPORT = 1, 2, 7, 8, 11
_PRIMITIVES: Final = {"u32": 0x79, "u64": 0x77, "f32": 0x76, "f64": 0x75}
_FUNC, _TYPE_SORT = b"\x01", b"\x03"
_REALLOC: Final = ("u32",) * 4
_MOST_MEMORIES: Final = 64
"""Memories, by all their names, that are shown: a module may have 100."""


@attrs.frozen
class RawFunction:
    """An export of integers, beside the one that it stands for.

    Attributes:
        shape: what the integers are made of.
        call: the name of the export.
        realloc: that of the guest's allocator; None if it is not needed.
        post_return: that of what frees the result; None if there is none.
        memory: the number of the memory that the bytes are in.
    """

    shape: Shape
    call: str
    realloc: str | None
    post_return: str | None
    memory: int


@attrs.frozen
class Augmented:
    """A component with more exports.

    Attributes:
        binary: the component.
        memories: how many memories `_capi_component.find_memories` finds.
        raw: functions by the name of the export that they stand for.
        drops: names of functions that drop a resource.
    """

    binary: bytes
    memories: int
    raw: Mapping[str, RawFunction]
    drops: tuple[str, ...]


def augment(binary: bytes) -> Augmented | None:
    """Return the component with more exports; None if it cannot be read."""
    try:
        anatomy = read_anatomy(binary)
    except Unreadable:
        return None
    return _Extension(binary, anatomy).extend()


@final
class _Extension:
    """Appends sections to one component, and counts what they add."""

    def __init__(self, binary: bytes, anatomy: Anatomy) -> None:
        self._parts = [binary]
        self._made = anatomy
        self._reallocs: dict[int, str] = {}

    def extend(self) -> Augmented:
        memories = self._show_memories()
        drops = tuple([self._drop(resource) for resource in self._made.resources])
        raw = dict(self._raw_functions())
        return Augmented(b"".join(self._parts), memories, raw, drops)

    def _section(self, number: int, items: Iterable[bytes]) -> None:
        self._parts.append(bytes((number,)) + sized(vector(items)))

    def _show_memories(self) -> int:
        count = self._made.count("core memory")
        if not 0 < count <= _MOST_MEMORIES:
            return 0
        names = range(count)
        imports = " ".join(f'(import "" "{k}" (memory 0))' for k in names)
        exports = " ".join(f'(export "{_capi.SHOWN_MEMORY}{k}" (memory {k}))' for k in names)
        probe = _capi.text_to_binary(f"(module {imports} {exports})")
        self._parts.append(bytes((_MODULE,)) + sized(probe))
        module = self._made.add("core module")
        given = self._made.add("core instance", 2)
        listed = vector(_text(str(k)) + b"\x02" + unsigned(k) for k in names)
        args = vector([_text("") + b"\x12" + unsigned(given)])
        self._section(_CORE_INSTANCE, [b"\1" + listed, b"\0" + unsigned(module) + args])
        return count

    def _drop(self, resource: int) -> str:
        name = f"{HIDDEN}drop-{resource}"
        self._section(_EXPORT, [_exported(f"{HIDDEN}resource-{resource}", _TYPE_SORT, resource)])
        exported = self._made.add("type")
        own, function = self._made.add("type"), self._made.add("type")
        self._section(
            _TYPE,
            [
                b"\x69" + unsigned(exported),
                b"\x40" + vector([_text("x") + signed(own)]) + b"\1\0",
            ],
        )
        self._section(_CANON, [b"\x03" + unsigned(resource)])
        self._lift(self._made.add("core func"), function, name)
        return name

    def _lift(self, core: int, type_: int, name: str) -> None:
        lift = b"\0\0" + unsigned(core) + vector([]) + unsigned(type_)
        self._section(_CANON, [lift])
        function = self._made.add("func")
        self._section(_EXPORT, [_exported(name, _FUNC, function)])
        self._made.add("func")

    def _raw(self, core: int, name: str, params: Sequence[str], results: Sequence[str]) -> str:
        """Lift a core function to one of integers; return its name."""
        given = [_text(f"p{k}") + bytes((_PRIMITIVES[each],)) for k, each in enumerate(params)]
        result = b"\0" + bytes((_PRIMITIVES[results[0]],)) if results else b"\1\0"
        self._section(_TYPE, [b"\x40" + vector(given) + result])
        self._lift(core, self._made.add("type"), name)
        return name

    def _raw_functions(self) -> Iterable[tuple[str, RawFunction]]:
        made = self._made
        functions = dict(made.functions)
        for interface, inside in made.instances.items():
            functions.update({import_name(interface, name): k for name, k in inside.items()})
        known: dict[int, RawFunction | None] = {}
        for name, index in functions.items():
            if index not in known:
                lifted = made.lifted.get(index)
                known[index] = None if lifted is None else self._raw_function(index, lifted)
            raw = known[index]
            if raw is not None:
                yield name, raw

    def _raw_function(self, index: int, lifted: Lifted) -> RawFunction | None:
        shape = shape_of(self._made, lifted)
        if shape is None or lifted.memory is None:
            return None
        results = result_types(shape)
        call = self._raw(lifted.core, f"{HIDDEN}call-{index}", core_types(shape), results)
        post_return = None
        if lifted.post_return is not None:
            post_return = self._raw(lifted.post_return, f"{HIDDEN}return-{index}", results, ())
        return RawFunction(shape, call, self._realloc(lifted.realloc), post_return, lifted.memory)

    def _realloc(self, core: int | None) -> str | None:
        if core is None:
            return None
        if core not in self._reallocs:
            name = f"{HIDDEN}realloc-{core}"
            self._reallocs[core] = self._raw(core, name, _REALLOC, ("u32",))
        return self._reallocs[core]


def _text(text: str) -> bytes:
    return sized(text.encode())


def _exported(name: str, sort: bytes, index: int) -> bytes:
    return b"\0" + _text(name) + sort + unsigned(index) + b"\0"
