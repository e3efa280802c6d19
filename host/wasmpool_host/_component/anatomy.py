"""What a component is made of at its top level: which core function is behind each export.

The format is the component model's:
https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md. The component was
not validated before: Wasmtime does that when it compiles what is made of it. So the time and the
memory that this takes are bounded. Only what `augment` needs is kept: how functions are lifted and
lowered, what the types are, which memories and resources there are, where in the binary some of it
is, and how many of everything, so that more can follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, final

import attrs

from wasmpool_host._compile.reader import BinaryReader

from .type_space import (
    EnumType,
    FlagsType,
    FunctionType,
    HandleType,
    InstanceType,
    ListType,
    OptionType,
    PrimitiveType,
    RecordType,
    ResultType,
    TupleType,
    TypeSpace,
    VariantType,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .type_space import Definition

__all__ = [
    "Anatomy",
    "CoreAlias",
    "Imported",
    "Lifted",
    "Lowered",
    "RootImport",
    "Section",
    "Span",
    "Unreadable",
    "read_anatomy",
]

_CORE_INSTANCES, _COMPONENTS, _INSTANCES, _ALIASES, _TYPES = 2, 4, 5, 6, 7
_CORE_MODULES, _CORE_TYPES, _CANONS, _IMPORTS, _EXPORTS = 1, 3, 8, 10, 11
_CUSTOM: Final = 0

_SORTS: Final = {1: "func", 2: "value", 3: "type", 4: "component", 5: "instance"}
_CORE_SORTS: Final = {
    0: "core func", 1: "core table", 2: "core memory", 3: "core global", 4: "core tag",
    0x10: "core type", 0x11: "core module", 0x12: "core instance",
}  # fmt: skip

_RESOURCE, _FUNCTION, _COMPONENT_TYPE, _INSTANCE_TYPE = 0x3F, 0x40, 0x41, 0x42
_INDEX_BITS: Final = 35
"""Of the index of a type, with its sign: a valid one has at most five bytes."""

_MOST_DEEP: Final = 50
"""Levels of components in components, and of types in types, that are read."""
_MOST_NAMES: Final = 100_000
"""Functions of instances, by all their names. An instance has those of its component anew, so a
small component may have any number."""
_MOST_AGAIN: Final = 2_000_000
"""Parts of types, and letters of their names, that are looked at and encoded again. A type may be
used by any number of functions, so a small component may have any number."""

T = TypeVar("T")

Sorted: TypeAlias = tuple[str, int]
"""A sort, and an index among those of it."""


class Unreadable(Exception):
    """The component has something that is newer than this file: it is used as it is."""


@attrs.frozen
class Span:
    """From where to where something is in the binary."""

    start: int
    end: int


@attrs.frozen
class Section:
    """A section: where its header begins, and where its content is."""

    number: int
    header: int
    content: Span


@attrs.frozen
class CoreAlias:
    """An export of a core instance: its sort, and its name."""

    sort: str
    instance: int
    name: str


@attrs.frozen
class Imported:
    """A function of an imported instance: that instance, the name, and where this is written."""

    instance: int
    name: str
    span: Span


@attrs.frozen
class RootImport:
    """A function that is imported at the root: where this is written, and after how many instances.

    ``section`` is the header of the section that it is in.
    """

    name: str
    type: int
    section: int
    span: Span
    instances: int


@attrs.frozen
class Lowered:
    """How a function is lowered: the memory and the allocator of what calls it."""

    memory: int | None
    realloc: int | None
    utf8: bool


@attrs.frozen
class Lifted:
    """A core function that was lifted to a function: the indices of what that takes."""

    type: int
    core: int
    memory: int | None
    realloc: int | None
    post_return: int | None
    utf8: bool


@final
class Anatomy:
    """The top level of one component.

    Attributes:
        counts: how many there are of each sort but types.
        types: the types.
        lifted: functions by index.
        resources: indices of the types that are resources of its own.
        functions: indices of exported functions by name.
        instances: exported instances by name: indices of their functions by name.
        sections: all sections, in order.
        core_modules: where the core modules are, by index.
        core_instances: the module that each of the core instances is made of, or else what it has,
            by name.
        core_aliases: by what sort they are, and their index.
        instance_types: indices of the types of imported instances, by the instance's index.
        interfaces: names of these instances.
        type_uses: how often a type is referred to as that of an import, or is passed on.
        outer_types: indices of types that are perhaps used within other types and components.
        is_whole: False if a component in it could not be read.
        imports: imported functions by index.
        root_imports: functions that are imported at the root, by index.
        import_spans: where the imports of a section are, by the section's header.
        type_spans: where types are defined, by index.
        instance_uses: where instances are referred to, and which.
        lowered: how functions are lowered, by index.
        passed: indices of functions that are used for something else, too.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.types: TypeSpace = TypeSpace()
        self.lifted: dict[int, Lifted] = {}
        self.resources: list[int] = []
        self.functions: dict[str, int] = {}
        self.instances: dict[str, Mapping[str, int]] = {}
        self.imported: dict[str, Sorted] = {}
        self.exported: dict[str, Sorted] = {}
        self.sections: list[Section] = []
        self.core_modules: dict[int, Section] = {}
        self.core_instances: list[int | Mapping[str, Sorted]] = []
        self.core_aliases: dict[Sorted, CoreAlias] = {}
        self.instance_types: dict[int, int] = {}
        self.interfaces: dict[int, str] = {}
        self.type_uses: dict[int, int] = {}
        self.outer_types: set[int] = set()
        self.is_whole: bool = True
        self.imports: dict[int, Imported] = {}
        self.root_imports: dict[int, RootImport] = {}
        self.import_spans: dict[int, list[Span]] = {}
        self.type_spans: dict[int, Span] = {}
        self.instance_uses: list[tuple[Span, int]] = []
        self.lowered: dict[int, list[Lowered]] = {}
        self.passed: set[int] = set()
        self._again = 0

    def count(self, sort: str) -> int:
        """How many there are of a sort."""
        return self.types.count if sort == "type" else self.counts.get(sort, 0)

    def core_export(self, sort: str, index: int) -> CoreAlias | None:
        """Return which export of which instance of a module something is, if it is one."""
        alias = self.core_aliases.get((sort, index))
        for _ in range(_MOST_DEEP):
            if alias is None:
                return None
            instance = self.core_instances[alias.instance]
            if isinstance(instance, int):
                return alias
            alias = self.core_aliases.get(instance.get(alias.name, ("", 0)))
        return None

    def use_again(self, names: Iterable[str]) -> None:
        """Count what is looked at again: a type, and what is in it by name.

        Raises:
            Unreadable: it is too much in all.
        """
        self._again += 1 + sum(1 + len(name) for name in names)
        if self._again > _MOST_AGAIN:
            raise Unreadable("its types are used too often")

    def add(self, sort: str, number: int = 1) -> int:
        """Count some more; return the index of the first."""
        if sort == "type":
            return self.types.add()
        first = self.counts.get(sort, 0)
        self.counts[sort] = first + number
        return first


def read_anatomy(binary: bytes) -> Anatomy:
    """Read the top level of a component.

    Raises:
        Unreadable: it has what this does not know, or is broken.
    """
    try:
        return _Reader(binary).read()
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise Unreadable(str(error)) from error


@final
class _Reader(BinaryReader):
    """Reads one component."""

    def __init__(self, binary: bytes, at: int = 8, end: int | None = None, level: int = 0) -> None:
        super().__init__(binary, at)
        self._end: int = len(binary) if end is None else end
        if level > _MOST_DEEP:
            raise Unreadable("it is too deep")
        self._level = level
        self._level_of_types = 0
        self._made = Anatomy()
        self._components: list[Anatomy | None] = []
        self._insides: dict[int, Mapping[str, int]] = {}
        """Functions of instances by name, of those whose functions are known."""
        self._same: dict[int, int] = {}
        """Functions that are others under a new index, and the first index of each."""
        self._names = 0

    def read(self) -> Anatomy:
        for section, end in self._sections():
            if section == _CUSTOM:
                continue
            if section == _CORE_MODULES:
                index = self._made.add("core module")
                self._made.core_modules[index] = self._made.sections[-1]
            elif section == _COMPONENTS:
                self._component(end)
            else:
                self._each(self._readers()[section])
        self._resolve()
        return self._made

    def _sections(self) -> Iterator[tuple[int, int]]:
        """As the base's, up to the end of this component: it may be inside another one.

        A section that went on behind that would be read several times, at each level of components.
        """
        while self._at < self._end:
            header = self._at
            section, size = self._byte(), self._number()
            end = self._at + size
            if end > self._end:
                raise Unreadable("a section is longer than its component")
            self._made.sections.append(Section(section, header, Span(self._at, end)))
            yield section, end
            self._at = end

    def _readers(self) -> dict[int, Callable[[], None]]:
        return {
            _CORE_INSTANCES: self._core_instance,
            _CORE_TYPES: self._refuse,
            _INSTANCES: self._instance,
            _ALIASES: self._alias,
            _TYPES: self._component_type,
            _CANONS: self._canon,
            _IMPORTS: self._import,
            _EXPORTS: self._export,
        }

    def _refuse(self) -> None:
        raise Unreadable("it has core types")

    def _resolve(self) -> None:
        """Find the functions that are lifted, behind all their names."""
        made = self._made
        for name, (sort, index) in made.exported.items():
            if sort == "func":
                made.functions[name] = self._original(index)
            elif sort == "instance" and index in self._insides:
                self._count_names(len(self._insides[index]))
                made.instances[name] = {
                    inner: self._original(each) for inner, each in self._insides[index].items()
                }

    def _note_same(self, new: int, old: int) -> None:
        """Note that a function is another one, always an earlier one."""
        if old >= new:
            raise Unreadable("a function comes before itself")
        self._same[new] = self._original(old)

    def _original(self, function: int) -> int:
        return self._same.get(function, function)

    def _count_names(self, number: int) -> None:
        """Count names before they are noted."""
        self._names += number
        if self._names > _MOST_NAMES:
            raise Unreadable("its instances have too many functions")

    def _component(self, end: int) -> None:
        self._made.add("component")
        try:
            inner = _Reader(self._bytes, self._at + 8, end, self._level + 1).read()
        except Unreadable:
            self._components.append(None)
            self._made.is_whole = False
        else:
            self._components.append(inner)
            self._made.outer_types |= inner.outer_types
            self._made.is_whole = self._made.is_whole and inner.is_whole

    # --- instances ---

    def _core_instance(self) -> None:
        self._made.add("core instance")
        if self._byte() == 1:  # what it exports is listed
            listed: dict[str, Sorted] = {}
            for _ in range(self._number()):
                name = self._text()
                listed[name] = _CORE_SORTS[self._byte()], self._number()
            self._made.core_instances.append(listed)
            return
        self._made.core_instances.append(self._number())
        for _ in range(self._number()):
            self._text()
            self._byte()
            self._number()

    def _instance(self) -> None:
        index = self._made.add("instance")
        if self._byte() == 1:  # what it exports is listed
            items = [(self._name(), self._sort_index()) for _ in range(self._number())]
            self._insides[index] = {name: k for name, (sort, k) in items if sort == "func"}
            return
        component = self._components[self._number()]
        args = {self._text(): self._sort_index() for _ in range(self._number())}
        if component is not None:
            self._count_names(len(component.imported) + len(component.functions))
            self._insides[index] = dict(_passed_through(component, args))

    def _sort_index(self) -> Sorted:
        sort, start = self._sort(), self._at
        index = self._number()
        if sort == "func":
            self._made.passed.add(index)
        elif sort == "instance":
            self._made.instance_uses.append((Span(start, self._at), index))
        elif sort == "type":
            self._use_type(index)
        return sort, index

    def _use_type(self, index: int) -> None:
        uses = self._made.type_uses
        uses[index] = uses.get(index, 0) + 1

    def _sort(self) -> str:
        sort = self._byte()
        return _CORE_SORTS[self._byte()] if sort == 0 else _SORTS[sort]

    def _name(self) -> str:
        """The name of an import or an export."""
        if self._byte() > 1:
            raise Unreadable("a name has attributes")
        return self._text()

    def _alias(self) -> None:
        sort = self._sort()
        kind = self._byte()
        if kind == 2:  # outer
            self._number()
            self._note_outer(sort, self._number())
            self._made.add(sort)
            return
        first, instance, start = self._at, self._number(), self._at
        if kind == 0:
            self._made.instance_uses.append((Span(first, start), instance))
        name, span = self._text(), Span(start, self._at)
        if sort == "type":
            self._alias_type(instance, name)
            return
        index = self._made.add(sort)
        if kind == 1:
            self._made.core_aliases[sort, index] = CoreAlias(sort, instance, name)
        elif sort == "func" and name in self._insides.get(instance, {}):
            self._note_same(index, self._insides[instance][name])
        elif sort == "func" and instance in self._made.instance_types:
            self._made.imports[index] = Imported(instance, name, span)

    def _alias_type(self, instance: int, name: str) -> None:
        """Take a type of an imported instance; what that is."""
        types = self._made.types
        type_ = self._instance_type(instance)
        if type_ is None or name not in type_.types:
            types.add()
        else:
            types.add_alias(type_.space, type_.types[name])

    def _instance_type(self, instance: int) -> InstanceType | None:
        index = self._made.instance_types.get(instance)
        found = None if index is None else self._made.types.find(index)
        return found[1] if found is not None and isinstance(found[1], InstanceType) else None

    # --- functions ---

    def _canon(self) -> None:
        kind = self._byte()
        if kind == 0:  # lift
            self._byte()
            core = self._number()
            options = self._options()
            type_ = self._number()
            self._use_type(type_)
            index = self._made.add("func")
            if options is not None:
                found, utf8 = options
                self._made.lifted[index] = Lifted(
                    type_, core, found.get(3), found.get(4), found.get(5), utf8
                )
        elif kind == 1:  # lower
            self._byte()
            function = self._number()
            options = self._options()
            self._made.add("core func")
            if options is None:
                self._made.passed.add(function)
            else:
                found, utf8 = options
                lowered = Lowered(found.get(3), found.get(4), utf8)
                self._made.lowered.setdefault(function, []).append(lowered)
        elif kind in (2, 3, 4):  # a resource's new, drop, rep
            self._number()
            self._made.add("core func")
        else:
            raise Unreadable(f"canonical function {kind}")

    def _options(self) -> tuple[dict[int, int], bool] | None:
        """Read options, and if strings are UTF-8; None where the function is asynchronous."""
        found: dict[int, int] = {}
        encoding = 0
        waits = False
        for _ in range(self._number()):
            option = self._byte()
            if option <= 2:
                encoding = option
            elif option in (3, 4, 5):
                found[option] = self._number()
            elif option in (6, 7):
                waits = True
                if option == 7:
                    self._number()
            else:
                raise Unreadable(f"canonical option {option}")
        return None if waits else (found, encoding == 0)

    # --- imports and exports ---

    def _import(self) -> None:
        start, instances = self._at, self._made.count("instance")
        name = self._name()
        sort, type_ = self._description()
        section, span = self._made.sections[-1].header, Span(start, self._at)
        self._made.import_spans.setdefault(section, []).append(span)
        index = self._add_type(type_) if sort == "type" else self._made.add(sort)
        self._made.imported[name] = sort, index
        if sort == "func" and type_ is not None:
            self._made.root_imports[index] = RootImport(name, type_, section, span, instances)
        if sort == "instance" and type_ is not None:
            self._made.instance_types[index] = type_
            self._made.interfaces[index] = name

    def _export(self) -> None:
        name = self._name()
        sort, index = self._sort_index()
        if self._byte():
            self._description()
        self._made.exported[name] = sort, index
        new = self._add_type(index) if sort == "type" else self._made.add(sort)
        if sort == "func":
            self._note_same(new, index)
        elif sort == "instance" and index in self._insides:
            self._insides[new] = self._insides[index]

    def _add_type(self, same: int | None) -> int:
        types = self._made.types
        return types.add() if same is None else types.add_alias(types, same)

    def _description(self) -> tuple[str, int | None]:
        """Read what an import or an export is; return its sort, and the index of its type."""
        kind = self._byte()
        if kind == 0:  # a core module
            self._byte()
            self._number()
            return "core module", None
        if kind == 3:
            return "type", self._number() if self._byte() == 0 else None
        if kind not in (1, 4, 5):
            raise Unreadable(f"description {kind}")
        type_ = self._number()
        if not self._level_of_types:
            self._use_type(type_)
        return _SORTS[kind], type_

    # --- types ---

    def _component_type(self) -> None:
        types, start = self._made.types, self._at
        if self._peek() == _RESOURCE:
            self._made.resources.append(types.count)
        index = types.add(self._definition(0, types))
        self._made.type_spans[index] = Span(start, self._at)

    def _definition(self, level: int, space: TypeSpace) -> Definition | None:
        """Read a type; return it if it is of a kind that is kept."""
        if level > _MOST_DEEP:
            raise Unreadable("a type is too deep")
        form = self._byte()
        if form == _FUNCTION:
            params = tuple([self._labelled() for _ in range(self._number())])
            has_result = self._byte() == 0
            result = self._type_index()
            return FunctionType(params, result if has_result else None)
        if form == _RESOURCE:
            self._byte()
            if self._byte():
                self._number()
            return None
        if form in (_COMPONENT_TYPE, _INSTANCE_TYPE):
            self._level_of_types += 1
            found = self._declarations(level, space)
            self._level_of_types -= 1
            return found if form == _INSTANCE_TYPE else None
        return self._value_type_of(form)

    def _value_type_of(self, form: int) -> Definition | None:  # noqa: C901, PLR0911 - a table
        match form:
            case 0x72:
                return RecordType(self._list_of(self._labelled))
            case 0x71:
                return VariantType(self._list_of(self._case))
            case 0x70:
                return ListType(self._type_index())
            case 0x6F:
                return TupleType(self._list_of(self._type_index))
            case 0x6E:
                return FlagsType(self._list_of(self._text))
            case 0x6D:
                return EnumType(self._list_of(self._text))
            case 0x6B:
                return OptionType(self._type_index())
            case 0x6A:
                return ResultType(self._optional(), self._optional())
            case 0x69 | 0x68:
                return HandleType(form == 0x69, self._type_index())
            case _ if 0x73 <= form <= 0x7F:
                return PrimitiveType(form - 0x80)
            case _:
                raise Unreadable(f"type {form}")

    def _list_of(self, item: Callable[[], T]) -> tuple[T, ...]:
        return tuple([item() for _ in range(self._number())])

    def _type_index(self) -> int:
        """An index; a primitive is negative."""
        value = 0
        for shift in range(0, _INDEX_BITS, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value - (0x80 << shift) if byte & 0x40 else value
        raise Unreadable("an index is too long")

    def _labelled(self) -> tuple[str, int]:
        return self._text(), self._type_index()

    def _optional(self) -> int | None:
        return self._type_index() if self._byte() else None

    def _case(self) -> tuple[str, int | None]:
        name, type_ = self._text(), self._optional()
        self._byte()
        return name, type_

    def _declarations(self, level: int, outer: TypeSpace) -> InstanceType:
        """Read the type of an instance, or as much of that of a component."""
        counted = self._at
        number = self._number()
        declared = self._at
        space = TypeSpace(outer)
        types: dict[str, int] = {}
        functions: dict[str, int] = {}
        for _ in range(number):
            self._declaration(level, space, types, functions)
        return InstanceType(space, types, functions, counted, number, declared, self._at)

    def _declaration(
        self, level: int, space: TypeSpace, types: dict[str, int], functions: dict[str, int]
    ) -> None:
        kind = self._byte()
        if kind == 1:
            space.add(self._definition(level + 1, space))
        elif kind == 2:
            self._declared_alias(space)
        elif kind in (3, 4):
            name = self._name()
            sort, type_ = self._description()
            if sort == "type":
                types[name] = space.add() if type_ is None else space.add_alias(space, type_)
            elif sort == "func" and type_ is not None:
                functions[name] = type_
        else:
            raise Unreadable(f"declaration {kind}")

    def _declared_alias(self, space: TypeSpace) -> None:
        sort = self._sort()
        if self._byte() != 2:
            self._number()
            self._text()
            if sort == "type":
                space.add()
            return
        levels, index = self._number(), self._number()
        self._note_outer(sort, index)
        if sort != "type":
            return
        found: TypeSpace | None = space
        for _ in range(min(levels, _MOST_DEEP)):
            found = None if found is None else found.outer
        if found is None:
            space.add()
        else:
            space.add_alias(found, index)

    def _note_outer(self, sort: str, index: int) -> None:
        """Note what is perhaps a use of a type of this component, or of one around it."""
        if sort == "type":
            self._made.outer_types.add(index)


def _passed_through(component: Anatomy, args: Mapping[str, Sorted]) -> list[tuple[str, int]]:
    """The functions that an inner component exports and was given: their indices outside of it."""
    given = {
        index: args[name][1]
        for name, (sort, index) in component.imported.items()
        if sort == "func" and name in args
    }
    return [(name, given[index]) for name, index in component.functions.items() if index in given]
