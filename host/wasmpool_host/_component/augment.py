"""A component with changes and with more exports, by which the host does what the C API cannot.

Wasmtime's C API has a value for each item of a list, so that a ``list<u8>`` of a megabyte costs
20 milliseconds or more, and no way to see a component's memory or to run a guest's destructor. All
of it is within a component's reach. So sections are appended to the binary, and in three places
something is added to what is there:

* **The same core functions, lifted once more**, with a pair of a pointer and a size for each list
  of bytes and each string (`paired_types`). The host writes the bytes into the guest's memory
  itself, or reads them there. The guest's allocator is lifted, too. What ends a call
  (``post-return``) must not run before the host has read the result, so it is lifted to a function
  of its own.
* **Imported functions with pairs in their types**, beside those that they stand for: the type of
  the instance that they are in has more of them, and the core functions are lowered from those.
* **A function that drops a resource**, for each that the component defines.
* **Memories and allocators under names that are known**, exported by the core modules that have
  them. The host finds these modules' instances in the store (`_capi_component.find_shown`).

Nothing that has an index gets another one. Wasmtime checks the whole as it checks any component. A
component that cannot be read or changed in this way is compiled as it is. Then its lists go by
values, its memory is not counted, and its resources are dropped with the instance.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, final

import attrs

from wasmpool_host import _capi
from wasmpool_host._compile.encoding import signed, sized, unsigned, vector

from .anatomy import Span, Unreadable, read_anatomy
from .augmented import BATCH, HIDDEN, Augmented, PairedImport, RawFunction
from .edits import edited, with_exports
from .flat_types import core_function
from .imported import import_name
from .paired_types import Paired, PairedTypes, Unpairable, encoded_text
from .type_space import FunctionType, InstanceType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .anatomy import Anatomy, Imported, Lifted, Lowered
    from .type_space import TypeSpace

__all__ = ["augment"]

_MODULE, _CORE_INSTANCE, _ALIAS, _TYPE, _CANON, _EXPORT = 1, 2, 6, 7, 8, 11
_FUNC, _TYPE_SORT = b"\x01", b"\x03"
_U32: Final = -7
_REALLOC_PARAMS: Final = 4
_MOST_MEMORIES: Final = 64
"""Memories, by all their names, that are shown: a module may have 100."""


def augment(binary: bytes) -> Augmented | None:
    """Return the component with more in it; None if it cannot be read."""
    try:
        anatomy = read_anatomy(binary)
        shown = _Shown(anatomy)
        imports = _Imports(anatomy, shown)
        exports = _Exports(anatomy, shown)
        edits = [*imports.edits, *shown.edits(binary)]
    except (Unreadable, IndexError, UnicodeDecodeError):
        return None
    return Augmented(
        edited(binary, anatomy.sections, edits) + b"".join(exports.parts),
        len(shown.memories),
        exports.raw,
        exports.drops,
        imports.found,
    )


@final
class _Shown:
    """The memories and allocators of core modules, which these export under other names, too."""

    def __init__(self, made: Anatomy) -> None:
        self._made = made
        self._added: dict[int, dict[str, str]] = {}
        self.memories: dict[int, int] = {}
        """The numbers of the memories that are shown, by their index."""
        self.allocators: set[int] = set()
        """The functions that are shown."""
        for index in range(min(made.count("core memory"), _MOST_MEMORIES)):
            number = len(self.memories)
            if self._show("core memory", index, f"{_capi.SHOWN_MEMORY}{number}"):
                self.memories[index] = number

    def allocator(self, core: int) -> str | None:
        """Show a function; return the name, or None if that cannot be done."""
        name = f"{_capi.SHOWN}realloc-{core}"
        if not self._show("core func", core, name):
            return None
        self.allocators.add(core)
        return name

    def _show(self, sort: str, index: int, name: str) -> bool:
        """Have something exported by a name; return False unless one instance exports it."""
        made = self._made
        alias = made.core_export(sort, index)
        if alias is None:
            return False
        module = made.core_instances[alias.instance]
        if not isinstance(module, int) or module not in made.core_modules:
            return False
        if made.core_instances.count(module) > 1:
            return False
        self._added.setdefault(module, {})[name] = alias.name
        return True

    def edits(self, binary: bytes) -> Iterable[tuple[Span, bytes]]:
        """What to change in the component."""
        for module, added in self._added.items():
            span = self._made.core_modules[module].content
            yield span, with_exports(binary[span.start : span.end], added)


@final
class _Imports:
    """The imported functions with pairs."""

    def __init__(self, made: Anatomy, shown: _Shown) -> None:
        self._made = made
        self._shown = shown
        self.edits: list[tuple[Span, bytes]] = []
        self.found: dict[tuple[str, str], PairedImport] = {}
        by_type: dict[int, list[int]] = {}
        for index, imported in made.imports.items() if made.is_whole else ():
            by_type.setdefault(made.instance_types[imported.instance], []).append(index)
        for type_, functions in by_type.items():
            found = made.types.find(type_)
            is_shared = made.type_uses.get(type_) != 1 or type_ in made.outer_types
            if found is not None and isinstance(found[1], InstanceType) and not is_shared:
                self._extend(found[1], functions)

    def _extend(self, type_: InstanceType, functions: Sequence[int]) -> None:
        """Add functions to the type of an instance."""
        more = _MoreDeclared(type_)
        for index in functions:
            imported = self._made.imports[index]
            lowered = self._lowered(index)
            if lowered is not None and imported.name in type_.functions:
                try:
                    self._add(type_, more, index, imported, lowered)
                except Unpairable:
                    continue
        self.edits += more.edits()

    def _lowered(self, index: int) -> Lowered | None:
        """How a function is lowered; None if not in one way, or if it is used otherwise, too."""
        ways = set(self._made.lowered.get(index, ()))
        return ways.pop() if len(ways) == 1 and index not in self._made.passed else None

    def _add(
        self,
        type_: InstanceType,
        more: _MoreDeclared,
        index: int,
        imported: Imported,
        lowered: Lowered,
    ) -> None:
        space, function = _function_of(type_.space, type_.functions[imported.name])
        takes = any(more.types.has_pairs(space, each, Paired.ALL) for _, each in function.params)
        result = function.result
        returns = result is not None and more.types.has_pairs(space, result, Paired.BYTES)
        memory = self._shown.memories.get(-1 if lowered.memory is None else lowered.memory)
        if memory is None or not (takes or returns) or not lowered.utf8:
            return
        realloc = None
        if returns:
            realloc = None if lowered.realloc is None else self._shown.allocator(lowered.realloc)
            if realloc is None:
                return
        params = [(n, more.types.make(space, each, Paired.ALL)) for n, each in function.params]
        made = None if result is None else more.types.make(space, result, Paired.BYTES)
        name = f"{HIDDEN}import-{index}"
        more.function(name, FunctionType(tuple(params), made))
        self.edits.append((imported.span, encoded_text(name)))
        interface = self._made.interfaces[imported.instance]
        allocate = None if realloc is None else _allocate_name(lowered.realloc)
        self.found[interface, name] = PairedImport(imported.name, memory, realloc, allocate)


@final
class _MoreDeclared:
    """What is added to the type of an instance."""

    def __init__(self, type_: InstanceType) -> None:
        self._type = type_
        self._count = type_.space.count
        self._added: list[bytes] = []
        self.types = PairedTypes(
            type_.space, define=self._define, name=self._named, resource=lambda index: index
        )

    def _define(self, definition: bytes) -> int:
        self._added.append(b"\1" + definition)
        self._count += 1
        return self._count - 1

    def _named(self, index: int) -> int:
        name = encoded_text(f"{HIDDEN}type-{index}")
        self._added.append(b"\4\0" + name + b"\3\0" + unsigned(index))
        self._count += 1
        return self._count - 1

    def function(self, name: str, type_: FunctionType) -> None:
        index = self._define(_function(type_))
        self._added.append(b"\4\0" + encoded_text(name) + b"\1" + unsigned(index))

    def edits(self) -> list[tuple[Span, bytes]]:
        """What to change in the component."""
        if not self._added:
            return []
        type_ = self._type
        number = unsigned(type_.number + len(self._added))
        return [
            (Span(type_.counted, type_.declared), number),
            (Span(type_.end, type_.end), b"".join(self._added)),
        ]


@final
class _Exports:
    """What is appended to one component, and counts what that adds."""

    def __init__(self, made: Anatomy, shown: _Shown) -> None:
        self.parts: list[bytes] = []
        self._made = made
        self._shown = shown
        self._reallocs: dict[int, str] = {}
        self._exported_resources: dict[int, int] = {}
        self.drops = tuple([self._drop(resource) for resource in made.resources])
        self._types = PairedTypes(
            made.types,
            define=self._define,
            name=self._export_type,
            resource=lambda index: self._exported_resources.get(index, index),
        )
        self.raw = dict(self._raw_functions())
        self._show_allocators(sorted(shown.allocators))

    def _section(self, number: int, items: Iterable[bytes]) -> None:
        self.parts.append(bytes((number,)) + sized(vector(items)))

    # --- types ---

    def _define(self, definition: bytes) -> int:
        self._section(_TYPE, [definition])
        return self._made.add("type")

    def _export_type(self, index: int) -> int:
        self._section(_EXPORT, [_exported(f"{HIDDEN}type-{index}", _TYPE_SORT, index)])
        return self._made.add("type")

    def _drop(self, resource: int) -> str:
        name = f"{HIDDEN}drop-{resource}"
        self._section(_EXPORT, [_exported(f"{HIDDEN}resource-{resource}", _TYPE_SORT, resource)])
        self._exported_resources[resource] = exported = self._made.add("type")
        own = self._define(b"\x69" + unsigned(exported))
        function = self._define(_function(FunctionType((("x", own),), None)))
        self._section(_CANON, [b"\x03" + unsigned(resource)])
        self._lift(self._made.add("core func"), function, name)
        return name

    # --- functions ---

    def _lift(self, core: int, type_: int, name: str, options: Sequence[bytes] = ()) -> str:
        """Lift a core function; return its name."""
        self._section(_CANON, [b"\0\0" + unsigned(core) + vector(options) + unsigned(type_)])
        function = self._made.add("func")
        self._section(_EXPORT, [_exported(name, _FUNC, function)])
        self._made.add("func")
        return name

    def _raw_functions(self) -> Iterable[tuple[str, RawFunction]]:
        made = self._made
        functions = dict(made.functions)
        for interface, inside in made.instances.items():
            functions.update({import_name(interface, name): k for name, k in inside.items()})
        described = dict(self._describe(set(functions.values())))
        apart = self._take_apart([each for each in described.values() if each.is_apart])
        known = {
            index: self._raw_function(index, each, apart.get(index))
            for index, each in described.items()
        }
        for name, index in functions.items():
            if index in known:
                yield name, known[index]

    def _describe(self, functions: Iterable[int]) -> Iterable[tuple[int, _Described]]:
        """The exported functions that have pairs."""
        for index in sorted(functions):
            lifted = self._made.lifted.get(index)
            if lifted is not None:
                with suppress(Unpairable):
                    described = self._described(index, lifted)
                    if described is not None:
                        yield index, described

    def _described(self, index: int, lifted: Lifted) -> _Described | None:
        space, type_ = _function_of(self._made.types, lifted.type)
        types, result = self._types, type_.result
        takes = any(types.has_pairs(space, each, Paired.ALL) for _, each in type_.params)
        returns = result is not None and types.has_pairs(space, result, Paired.ALL)
        memory = self._shown.memories.get(-1 if lifted.memory is None else lifted.memory)
        if memory is None or not (takes or returns) or not lifted.utf8:
            return None
        if takes and lifted.realloc is None:
            return None
        params = [(name, types.make(space, each, Paired.ALL)) for name, each in type_.params]
        made = None if result is None else types.make(space, result, Paired.ALL)
        return _Described(
            index, lifted, core_function(space, type_), FunctionType(tuple(params), made), memory,
            takes=takes, returns=returns,
            returns_bytes=result is not None and types.has_pairs(space, result, Paired.BYTES),
        )  # fmt: skip

    def _raw_function(
        self, index: int, described: _Described, apart: tuple[int, int] | None
    ) -> RawFunction:
        lifted = described.lifted
        core = lifted.core if apart is None else apart[0]
        options = [b"\3" + unsigned(lifted.memory or 0)]
        if lifted.realloc is not None:
            options.append(b"\4" + unsigned(lifted.realloc))
        if lifted.post_return is not None and apart is None:
            options.append(b"\5" + unsigned(lifted.post_return))
        call = self._lift(
            core, self._define(_function(described.type)), f"{HIDDEN}call-{index}", options
        )
        end = None
        if apart is not None:
            nothing = self._define(_function(FunctionType((), None)))
            end = self._lift(apart[1], nothing, f"{HIDDEN}end-{index}")
        return RawFunction(
            call, self._realloc(lifted.realloc), end, described.memory,
            takes_bytes=described.takes, returns_bytes=described.returns_bytes,
        )  # fmt: skip

    def _realloc(self, core: int | None) -> str | None:
        if core is None:
            return None
        if core not in self._reallocs:
            params = [(f"p{k}", _U32) for k in range(_REALLOC_PARAMS)]
            type_ = self._define(_function(FunctionType(tuple(params), _U32)))
            self._reallocs[core] = self._lift(core, type_, f"{HIDDEN}realloc-{core}")
        return self._reallocs[core]

    def _take_apart(self, functions: Sequence[_Described]) -> Mapping[int, tuple[int, int]]:
        """Make two core functions of each: the call, and what ends it.

        The first keeps what the core function has returned, for the second.
        """
        if not functions:
            return {}
        made = self._made
        fields = [_apart_fields(each.index, *each.core) for each in functions]
        imports, rest = zip(*fields, strict=True)
        given: dict[str, int] = {}
        for each in functions:
            given[f"call-{each.index}"] = each.lifted.core
            given[f"end-{each.index}"] = each.lifted.post_return or 0
        instance = self._instantiate(f"(module {' '.join(imports)} {' '.join(rest)})", given)
        names = list(given)
        owner = b"\0\0\1" + unsigned(instance)
        self._section(_ALIAS, [owner + encoded_text(name) for name in names])
        first = made.add("core func", len(names))
        return {each.index: (first + 2 * k, first + 2 * k + 1) for k, each in enumerate(functions)}

    def _show_allocators(self, cores: Sequence[int]) -> None:
        """Show functions that call an allocator for several sizes."""
        if cores:
            imports = " ".join(
                f'(import "" "{core}" (func $realloc-{core} (param i32 i32 i32 i32) (result i32)))'
                for core in cores
            )
            functions = " ".join(map(_allocating, cores))
            given = {str(core): core for core in cores}
            self._instantiate(f"(module {imports} {functions})", given)

    def _instantiate(self, text: str, given: Mapping[str, int]) -> int:
        """Add a core module, and an instance that imports core functions; return its index."""
        made = self._made
        self.parts.append(bytes((_MODULE,)) + sized(_capi.text_to_binary(text)))
        index = made.add("core module")
        listed = made.add("core instance", 2)
        items = [encoded_text(name) + b"\0" + unsigned(core) for name, core in given.items()]
        args = vector([encoded_text("") + b"\x12" + unsigned(listed)])
        self._section(_CORE_INSTANCE, [b"\1" + vector(items), b"\0" + unsigned(index) + args])
        return listed + 1


def _allocate_name(core: int | None) -> str:
    return f"{_capi.SHOWN}allocate-{core}"


def _allocating(core: int) -> str:
    """A function that is given how many sizes there are, and sizes; it returns pointers."""
    calls = " ".join(
        f"""(if (result i32) (i32.gt_u (local.get 0) (i32.const {k}))
          (then (call $realloc-{core} (i32.const 0) (i32.const 0) (i32.const 1)
            (local.get {k + 1})))
          (else (i32.const 0)))"""
        for k in range(BATCH)
    )
    types = " i32" * BATCH
    return f'(func (export "{_allocate_name(core)}") (param i32{types}) (result{types}) {calls})'


def _apart_fields(index: int, params: Sequence[str], results: Sequence[str]) -> tuple[str, str]:
    """The imports and the rest of a module that `_Exports` makes, for one function."""
    given = "".join(f"(param {each})" for each in params)
    returned = "".join(f"(result {each})" for each in results)
    ended = "".join(f"(param {each})" for each in results)
    passed = " ".join(f"(local.get {k})" for k in range(len(params)))
    kept = "".join(f"(global $kept-{index} (mut {each}) ({each}.const 0))" for each in results)
    keep = f"(global.set $kept-{index}) (global.get $kept-{index})" if results else ""
    pass_kept = f"(global.get $kept-{index})" if results else ""
    imports = f"""
      (import "" "call-{index}" (func $call-{index} {given} {returned}))
      (import "" "end-{index}" (func $end-{index} {ended}))"""
    rest = f"""{kept}
      (func (export "call-{index}") {given} {returned} (call $call-{index} {passed}) {keep})
      (func (export "end-{index}") {pass_kept} (call $end-{index}))"""
    return imports, rest


@attrs.frozen
class _Described:
    """An exported function that has pairs.

    Attributes:
        index: the function's.
        lifted: how it is lifted.
        core: the core types of its parameters and results.
        type: its type, with pairs.
        memory: the number of its memory.
        takes: True if there are pairs in its parameters.
        returns: True if there are pairs in its result.
        returns_bytes: True if some of these stand for bytes.
    """

    index: int
    lifted: Lifted
    core: tuple[list[str], list[str]]
    type: FunctionType
    memory: int
    takes: bool
    returns: bool
    returns_bytes: bool

    @property
    def is_apart(self) -> bool:
        """True if what ends a call must wait until the result was read."""
        return self.returns and self.lifted.post_return is not None


def _function_of(space: TypeSpace, index: int) -> tuple[TypeSpace, FunctionType]:
    """Return a function's type, and the space of the indices in it.

    Raises:
        Unpairable: it is not known.
    """
    found = space.find(index)
    if found is None:
        raise Unpairable
    space, definition = found
    if not isinstance(definition, FunctionType):
        raise Unpairable
    return space, definition


def _function(type_: FunctionType) -> bytes:
    """The definition of a function's type."""
    given = [encoded_text(name) + signed(each) for name, each in type_.params]
    result = b"\1\0" if type_.result is None else b"\0" + signed(type_.result)
    return b"\x40" + vector(given) + result


def _exported(name: str, sort: bytes, index: int) -> bytes:
    return b"\0" + encoded_text(name) + sort + unsigned(index) + b"\0"
