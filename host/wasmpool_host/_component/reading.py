"""The types of a compiled component: what it imports and exports.

The wheel's own classes read them, which is slow, and done once for each component.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from wasmpool_host import _capi_component as capi
from wasmpool_host import _wit
from wasmpool_host._errors import CompileError

if TYPE_CHECKING:
    import wasmtime

    from wasmpool_host._wit import WitType

    from .augmented import Augmented

__all__ = ["MOST_PARTS", "World", "read_world"]

MOST_PARTS: Final = 5_000
"""Types inside the types of one function. Each type may be used many times in the next one, so a
few bytes can stand for a million; all that is done with a type takes time for each part."""
_MOST_IN_ALL: Final = 200_000
"""The same of all functions together."""


class World:
    """What a component imports and exports.

    Attributes:
        imports: by interface (``""`` for the root): the functions and resources in it, by name.
        exports: the same of what it exports.
        unknown: names of imports that are neither functions, types nor instances of them.
    """

    __slots__ = ("exports", "imports", "unknown")

    def __init__(self) -> None:
        self.imports: dict[str, dict[str, _wit.WitFunction | _wit.Resource]] = {}
        self.exports: dict[str, dict[str, _wit.WitFunction | _wit.Resource]] = {}
        self.unknown: list[str] = []


def read_world(engine: wasmtime.Engine, component: Any, augmented: Augmented | None) -> World:
    """Read the types of a component, to which something was added.

    Raises:
        CompileError: its functions have types of too many parts.
    """
    world = _WorldReader(engine).read(component)
    if augmented is not None and "" in world.imports:
        found = world.imports[""]
        names = [name for name in augmented.names if name in found]
        world.imports[""] = {name: found[name] for name in dict.fromkeys([*names, *found])}
    return world


class _WorldReader:
    """Converts the wheel's types, and tells the resources from each other."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._engine = engine
        self._types: Any = capi.wheel()._types  # noqa: SLF001 - the wheel's classes of types
        self._resources: list[tuple[Any, _wit.Resource]] = []
        self._importing = True
        self._parts = 0
        self._parts_before = 0
        """Those of the functions before the one that is read."""

    def read(self, component: Any) -> World:
        world = World()
        type_ = component.type
        self._read_items(type_.imports(self._engine), world.imports, world.unknown)
        self._importing = False
        self._read_items(type_.exports(self._engine), world.exports, [])
        return world

    def _read_items(
        self,
        items: dict[str, Any],
        found: dict[str, dict[str, _wit.WitFunction | _wit.Resource]],
        unknown: list[str],
    ) -> None:
        for name, item in items.items():
            type_ = _item_type(item)
            if isinstance(type_, self._types.ComponentInstanceType):
                inside = found.setdefault(name, {})
                for inner, each in type_.exports(self._engine).items():
                    if not self._read_item(name, inner, _item_type(each), inside):
                        unknown.append(f"{name}#{inner}")
            elif not self._read_item("", name, type_, found.setdefault("", {})):
                unknown.append(name)

    def _read_item(self, interface: str, name: str, type_: Any, found: dict[str, Any]) -> bool:
        """Read a function, a resource or another type; False for anything else."""
        if isinstance(type_, self._types.FuncType):
            found[name] = self._function(type_)
        elif isinstance(type_, capi.wheel().ResourceType):
            found[name] = self._resource(type_, f"{interface}/{name}" if interface else name)
        else:
            return type_ is None or isinstance(type_, self._types.ValType)
        return True

    def _function(self, type_: Any) -> _wit.WitFunction:
        self._parts_before = self._parts
        params = tuple((name, self._value(each)) for name, each in type_.params)
        result = None if type_.result is None else self._value(type_.result)
        if self._is_too_large:
            params, result = tuple((name, _TOO_LARGE) for name, _ in params), None
        return _wit.WitFunction(params, result, waits=capi.is_async(type_))

    @property
    def _is_too_large(self) -> bool:
        """True if the function that is read has too many parts."""
        return self._parts - self._parts_before > MOST_PARTS

    def _count_part(self) -> None:
        self._parts += 1
        if self._parts > _MOST_IN_ALL:
            message = (
                f"the types of the component's functions have more than {_MOST_IN_ALL:,} parts"
            )
            raise CompileError(message)

    def _resource(self, type_: Any, name: str = "") -> _wit.Resource:
        """The resource of a type; one that was not seen yet gets the name."""
        for known, resource in self._resources:
            if known == type_:
                return resource
        index = len(self._resources)
        made = _wit.Resource(name or f"resource-{index}", index, self._importing)
        self._resources.append((type_, made))
        return made

    def _value(self, type_: Any) -> WitType:  # noqa: C901, PLR0911 - a table
        types = self._types
        self._count_part()
        if self._is_too_large:
            return _TOO_LARGE
        match type_:
            case types.ListType():
                return _wit.List(self._value(type_.element))
            case types.RecordType():
                return _wit.Record(tuple((n, self._value(t)) for n, t in type_.fields))
            case types.TupleType():
                return _wit.Tuple(tuple(map(self._value, type_.elements)))
            case types.VariantType():
                return _wit.Variant(tuple((n, self._optional(t)) for n, t in type_.cases))
            case types.EnumType():
                return _wit.Enum(tuple(type_.names))
            case types.OptionType():
                return _wit.Option(self._value(type_.payload))
            case types.ResultType():
                return _wit.Result(self._optional(type_.ok), self._optional(type_.err))
            case types.FlagsType():
                return _wit.Flags(tuple(type_.names))
            case types.OwnType() | types.BorrowType():
                owned = isinstance(type_, types.OwnType)
                return _wit.Handle(self._resource(type_.ty), owned)
            case _:
                name = type(type_).__name__.removesuffix("Type").lower()
                known = name in _wit.PRIMITIVES
                return _wit.Primitive(name) if known else _wit.Unsupported(name)

    def _optional(self, type_: Any) -> WitType | None:
        return None if type_ is None else self._value(type_)


_TOO_LARGE: Final = _wit.Unsupported(f"a type of more than {MOST_PARTS:,} parts")


def _item_type(item: Any) -> Any:
    """The type of an import or export; None for one that the wheel does not know.

    Up to version 49 an item of an instance may be the type itself.
    """
    is_wrapped = type(item).__name__ == "ComponentExtern"
    try:
        return item.ty if is_wrapped else item
    except TypeError:
        return None
