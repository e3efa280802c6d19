"""Exported functions with pairs of integers in place of bytes and strings: see `augment`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, final

import attrs

from wasmpool_host import _capi
from wasmpool_host._compile.encoding import sized, unsigned, vector

from .augmented import BATCH, HIDDEN, RawFunction
from .flat_types import Flattening
from .function_types import encoded_function, function_of
from .imported import import_name
from .paired_types import Paired, PairedTypes, Unpairable, encoded_text
from .shown import allocate_name
from .type_space import FunctionType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .anatomy import Anatomy, Lifted
    from .shown import Shown

__all__ = ["PairedExports"]

_MODULE, _CORE_INSTANCE, _ALIAS, _TYPE, _CANON, _EXPORT = 1, 2, 6, 7, 8, 11
_FUNC, _TYPE_SORT = b"\x01", b"\x03"
_U32: Final = -7
_REALLOC_PARAMS: Final = 4


@final
class PairedExports:
    """What is appended to one component, and counts what that adds."""

    def __init__(self, made: Anatomy, shown: Shown) -> None:
        self.parts: list[bytes] = []
        self._made = made
        self._shown = shown
        self._reallocs: dict[int, str] = {}
        self._exported_resources: dict[int, int] = {}
        self.drops = tuple([self._drop(resource) for resource in made.resources])
        self._types = PairedTypes(
            made.types,
            use=made.use_again,
            define=self._define,
            name=self._export_type,
            resource=lambda index: self._exported_resources.get(index, index),
        )
        self._flat = Flattening()
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
        function = self._define(encoded_function(FunctionType((("x", own),), None)))
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
        space, type_ = function_of(self._made.types, lifted.type)
        self._made.use_again(name for name, _ in type_.params)
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
        core = self._flat.core_function(space, type_)
        return _Described(
            index, lifted, core, FunctionType(tuple(params), made), memory,
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
            core,
            self._define(encoded_function(described.type)),
            f"{HIDDEN}call-{index}",
            options,
        )
        end = None
        if apart is not None:
            nothing = self._define(encoded_function(FunctionType((), None)))
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
            type_ = self._define(encoded_function(FunctionType(tuple(params), _U32)))
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
    return f'(func (export "{allocate_name(core)}") (param i32{types}) (result{types}) {calls})'


def _apart_fields(index: int, params: Sequence[str], results: Sequence[str]) -> tuple[str, str]:
    """The imports and the rest of a module that `PairedExports` makes, for one function."""
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


def _exported(name: str, sort: bytes, index: int) -> bytes:
    return b"\0" + encoded_text(name) + sort + unsigned(index) + b"\0"
