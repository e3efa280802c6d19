"""What a component is made of at its top level: which core function is behind each export.

The format is the component model's:
https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md. The component was
not validated before: Wasmtime does that when it compiles what is made of it. So the time and the
memory that this takes are bounded. Only what `augment` needs is kept: how functions are lifted,
which memories and resources there are, and how many of everything, so that more can follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias, final

import attrs

from wasmpool_host._compile.reader import BinaryReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "Anatomy",
    "FunctionType",
    "Lifted",
    "ListType",
    "ResultType",
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

_RESOURCE, _FUNCTION, _LIST, _RESULT = 0x3F, 0x40, 0x70, 0x6A
_INDEX_BITS: Final = 35
"""Of the index of a type, with its sign: a valid one has at most five bytes."""
_DECLARED: Final = (0x41, 0x42)
"""Types of components, and of instances."""

_MOST_DEEP: Final = 50
"""Levels of components in components, and of types in types, that are read."""
_MOST_NAMES: Final = 100_000
"""Functions of instances, by all their names. An instance has those of its component anew, so a
small component may have any number."""

Sorted: TypeAlias = tuple[str, int]
"""A sort, and an index among those of it."""


class Unreadable(Exception):
    """The component has something that is newer than this file: it is used as it is."""


@attrs.frozen
class FunctionType:
    """The types of parameters and of the result: indices, or primitives where they are negative."""

    params: tuple[int, ...]
    result: int | None


@attrs.frozen
class ListType:
    """A list of a type."""

    element: int


@attrs.frozen
class ResultType:
    """A ``result`` of two types, each of which may be missing."""

    ok: int | None
    err: int | None


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
        counts: how many there are of each sort.
        lifted: functions by index.
        resources: indices of the types that are resources of its own.
        types: functions, lists and results by index.
        functions: indices of exported functions by name.
        instances: exported instances by name: indices of their functions by name.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.lifted: dict[int, Lifted] = {}
        self.resources: list[int] = []
        self.types: dict[int, FunctionType | ListType | ResultType] = {}
        self.functions: dict[str, int] = {}
        self.instances: dict[str, Mapping[str, int]] = {}
        self.imported: dict[str, Sorted] = {}
        self.exported: dict[str, Sorted] = {}

    def count(self, sort: str) -> int:
        """How many there are of a sort."""
        return self.counts.get(sort, 0)

    def add(self, sort: str, number: int = 1) -> int:
        """Count some more; return the index of the first."""
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
                self._made.add("core module")
            elif section == _COMPONENTS:
                self._component(end)
            elif section == _CORE_INSTANCES:
                self._made.add("core instance", self._number())
            else:
                self._each(self._readers()[section])
        self._resolve()
        return self._made

    def _sections(self) -> Iterator[tuple[int, int]]:
        """As the base's, up to the end of this component: it may be inside another one.

        A section that went on behind that would be read several times, at each level of components.
        """
        while self._at < self._end:
            section, size = self._byte(), self._number()
            end = self._at + size
            if end > self._end:
                raise Unreadable("a section is longer than its component")
            yield section, end
            self._at = end

    def _readers(self) -> dict[int, Callable[[], None]]:
        return {
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
        else:
            self._components.append(inner)

    # --- instances ---

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
        return self._sort(), self._number()

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
            self._number()
            self._made.add(sort)
            return
        instance, name = self._number(), self._text()
        index = self._made.add(sort)
        if kind == 0 and sort == "func" and name in self._insides.get(instance, {}):
            self._note_same(index, self._insides[instance][name])

    # --- functions ---

    def _canon(self) -> None:
        kind = self._byte()
        if kind == 0:  # lift
            self._byte()
            core = self._number()
            options = self._options()
            type_ = self._number()
            index = self._made.add("func")
            if options is not None:
                found, utf8 = options
                self._made.lifted[index] = Lifted(
                    type_, core, found.get(3), found.get(4), found.get(5), utf8
                )
        elif kind == 1:  # lower
            self._byte()
            self._number()
            self._options()
            self._made.add("core func")
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
        name = self._name()
        sort = self._description()
        self._made.imported[name] = sort, self._made.add(sort)

    def _export(self) -> None:
        name = self._name()
        sort, index = self._sort_index()
        if self._byte():
            self._description()
        self._made.exported[name] = sort, index
        new = self._made.add(sort)
        if sort == "func":
            self._note_same(new, index)
        elif sort == "instance" and index in self._insides:
            self._insides[new] = self._insides[index]

    def _description(self) -> str:
        """Read what an import or an export is; return its sort."""
        kind = self._byte()
        if kind == 0:  # a core module
            self._byte()
            self._number()
            return "core module"
        if kind == 3:
            if self._byte() == 0:
                self._number()
            return "type"
        if kind not in (1, 4, 5):
            raise Unreadable(f"description {kind}")
        self._number()
        return _SORTS[kind]

    # --- types ---

    def _component_type(self) -> None:
        if self._peek() == _RESOURCE:
            self._made.resources.append(self._made.count("type"))
        type_ = self._definition(0)
        index = self._made.add("type")
        if type_ is not None:
            self._made.types[index] = type_

    def _definition(self, level: int) -> FunctionType | ListType | ResultType | None:
        """Read a type; return it if it is of a kind that is kept."""
        if level > _MOST_DEEP:
            raise Unreadable("a type is too deep")
        form = self._byte()
        if form == _FUNCTION:
            params = tuple([self._labelled() for _ in range(self._number())])
            has_result = self._byte() == 0
            result = self._type_index()
            return FunctionType(params, result if has_result else None)
        if form == _LIST:
            return ListType(self._type_index())
        if form == _RESULT:
            return ResultType(self._optional(), self._optional())
        if form == _RESOURCE:
            self._byte()
            if self._byte():
                self._number()
        elif form in _DECLARED:
            for _ in range(self._number()):
                self._skip_declaration(level)
        else:
            self._skip_value_type(form)
        return None

    def _type_index(self) -> int:
        """An index; a primitive is negative."""
        value = 0
        for shift in range(0, _INDEX_BITS, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value - (0x80 << shift) if byte & 0x40 else value
        raise Unreadable("an index is too long")

    def _labelled(self) -> int:
        self._text()
        return self._type_index()

    def _optional(self) -> int | None:
        return self._type_index() if self._byte() else None

    def _skip_declaration(self, level: int) -> None:
        kind = self._byte()
        if kind == 1:
            self._definition(level + 1)
        elif kind == 2:
            self._skip_alias()
        elif kind in (3, 4):
            self._name()
            self._description()
        else:
            raise Unreadable(f"declaration {kind}")

    def _skip_alias(self) -> None:
        self._sort()
        if self._byte() == 2:
            self._number()
            self._number()
        else:
            self._number()
            self._text()

    def _skip_value_type(self, form: int) -> None:
        if 0x73 <= form <= 0x7F:
            return
        if form == 0x72:
            self._each(self._labelled)
        elif form == 0x71:
            self._each(self._case)
        elif form in (0x6B, 0x69, 0x68):
            self._type_index()
        elif form == 0x6F:
            self._each(self._type_index)
        elif form in (0x6E, 0x6D):
            self._each(self._text)
        else:
            raise Unreadable(f"type {form}")

    def _case(self) -> None:
        self._text()
        self._optional()
        self._byte()


def _passed_through(component: Anatomy, args: Mapping[str, Sorted]) -> list[tuple[str, int]]:
    """The functions that an inner component exports and was given: their indices outside of it."""
    given = {
        index: args[name][1]
        for name, (sort, index) in component.imported.items()
        if sort == "func" and name in args
    }
    return [(name, given[index]) for name, index in component.functions.items() if index in given]
