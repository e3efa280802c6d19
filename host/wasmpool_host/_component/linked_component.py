"""A compiled component with its host functions, as its instances see it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, final

from wasmpool_host import _capi_component as capi
from wasmpool_host import _wit
from wasmpool_host._escape import escaped
from wasmpool_host._instance.bindings import Bindings
from wasmpool_host._instance.linked_module import LinkedModule
from wasmpool_host._shown import shown
from wasmpool_host._suggest import LONGEST, MOST, similar

from .augmented import HIDDEN
from .paired import paired_export
from .resources import HostHandles
from .signature import ComponentSignature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from wasmpool_host import _capi
    from wasmpool_host._engine import Engine
    from wasmpool_host._instance.linked_module import Code
    from wasmpool_host._instance.program import World
    from wasmpool_host._limits import Limits

    from .augmented import Augmented, RawFunction
    from .imported import ImportedFunction

__all__ = ["LinkedComponent"]

_START: Final = "_start"
_RUN: Final = re.compile(r"wasi:cli/run@0\.2\.[0-9]+#run")
_RETURN_CODES: Final = (None, _wit.Result(None, None), _wit.Primitive("u8"), _wit.Primitive("s32"))

_MAPS: Final = 9
"""Memory maps of the kernel that an instance may take: of a call, and of two more memories."""


@final
class LinkedComponent(LinkedModule):
    """What all instances of a component share; `Component` is what users see of it.

    Attributes:
        functions: the exported functions by name, ``"interface#function"`` in an interface.
        raw: those whose bytes the host may put in memory itself.
        drops: functions that drop a resource, by its index.
    """

    def __init__(  # noqa: PLR0913 - its parts, from one place
        self,
        name: str,
        *,
        code: Code,
        compiled: Any,
        functions: Mapping[str, _wit.WitFunction],
        limits: Limits,
        imported: Sequence[ImportedFunction],
        new_world: Callable[..., World],
        augmented: Augmented | None,
    ) -> None:
        """Take the parts together; ``compiled`` is the component that ``code`` is made of."""
        super().__init__(
            name,
            ordinary=code,
            pooled=None,
            exports={},
            limits=limits,
            imported=imported,
            memory_exports=(),
            memory_limit=limits.memory,
            maps=_MAPS,
            added=0,
            initialize=None,
            open_companion=None,
            new_world=new_world,
            exchange_buffer=(0, 0),
        )
        self._store_limits = capi.limits(limits.memory, limits.table_elements)
        self._compiled = compiled
        self.functions: Mapping[str, _wit.WitFunction] = functions
        self.raw: Mapping[str, RawFunction] = {} if augmented is None else augmented.raw
        self.drops: Mapping[int, str] = dict(_drops(functions, augmented))
        self._memories = 0 if augmented is None else augmented.memories
        self._empty = capi.EmptyModule(code.engine.wasmtime) if self._memories else None
        self._paired: dict[str, tuple[str, RawFunction]] = {
            raw.call: (name, raw) for name, raw in self.raw.items()
        }
        self._name_raw_functions()
        self._wit_signatures: dict[str, ComponentSignature] = {}
        self._places: dict[str, capi.ExportedFunction] = {}

    is_component = True

    def __str__(self) -> str:
        return f"component {self.name!r}"

    def new_store(self, engine: Engine, key: int, arena: _capi.Arena) -> capi.ComponentStore:
        """Make a store within the limits, for one instance."""
        return capi.ComponentStore(
            engine.pointer_at, key, self._store_limits, arena,
            handles=HostHandles(str(self)), payload=self.limits.payload,
            empty=self._empty, memories=self._memories,
        )  # fmt: skip

    def memory_of(self, export: str) -> int | None:
        """The number of the memory that the bytes of a function with pairs are in; else None."""
        found = self._paired.get(export)
        return None if found is None else found[1].memory

    def _name_raw_functions(self) -> None:
        """Have errors name the functions that these stand for."""
        for name, raw in self.raw.items():
            label = self.label(name)
            self._labels[raw.call] = label
            if raw.realloc is not None:
                self._labels[raw.realloc] = f"the allocator of {self}"
            if raw.end is not None:
                self._labels[raw.end] = f"what ends {label}"

    def take_bindings(self) -> Bindings[Any, Any]:
        """Return bindings for one instance, perhaps those that another has left."""
        try:
            return self._spare.pop()
        except IndexError:  # also if another thread was first
            return Bindings(capi.ComponentArena())

    def place(self, export: str) -> capi.ComponentPlace:
        """Return a place for the handle of an exported function."""
        found = self._places.get(export)
        if found is None:
            interface, _, name = export.rpartition("#")
            found = self._places[export] = capi.ExportedFunction(self._compiled, interface, name)
        return capi.ComponentPlace(found)

    def wit_signature(self, export: str) -> ComponentSignature:
        """Return an exported function's type, ready to pass values by.

        Raises:
            ValueError: there is no such function.
            TypeError: it has values that cannot be passed.
        """
        found = self._wit_signatures.get(export)
        if found is None:
            found = self._wit_signatures[export] = self._new_signature(export)
        return found

    def _new_signature(self, export: str) -> ComponentSignature:
        found = self._paired.get(export)
        type_ = self._wit_type(export if found is None else found[0])
        passed = None if found is None else paired_export(type_)
        return ComponentSignature(type_, f"export {self.label(export)}", passed)

    def _wit_type(self, export: str) -> _wit.WitFunction:
        if not isinstance(export, str):
            raise TypeError(f"{self}: the name of an export is a str, not {shown(export)}")
        type_ = self.functions.get(export)
        if type_ is None:
            raise ValueError(f"{self} has no export {export!r}{self._near(export)}")
        return type_

    @property
    def command(self) -> str | None:
        """The function ``run`` of ``wasi:cli/run``, version 0.2, if it exports that."""
        return next(filter(_RUN.fullmatch, self.functions), None)

    def program(self, export: str) -> str:
        """Return the name of the function that runs the component as a program.

        ``export`` is that name, or ``"_start"``: the ``run`` of ``wasi:cli/run``, version 0.2.

        Raises:
            ValueError: there is no such function.
            TypeError: it has parameters, or a result that is no return code.
        """
        if export == _START:
            export = self.command or ""
            if not export:
                raise ValueError(f"{self} is no program: it exports no wasi:cli/run of version 0.2")
        type_ = self._wit_type(export)
        if type_.params or type_.result not in _RETURN_CODES:
            message = (
                f"{self}: export {export!r} is {_wit.in_message(type_)}: a program is func(), or"
                " func() -> result"
            )
            raise TypeError(message)
        return export

    def _near(self, export: str) -> str:
        names = [name for name in self.functions if not name.startswith(HIDDEN)]
        near = next((name for name in names if name.endswith(f"#{export}")), None)
        near = near or similar(export, names)
        if near:
            return f"; did you mean {escaped(near)!r}?"
        if not names:
            return "; it exports no function"
        some = ", ".join(escaped(name[:LONGEST]) for name in names[:MOST])
        return f"; its functions are {some}{', ...' if len(names) > MOST else ''}"


def _drops(
    functions: Mapping[str, _wit.WitFunction], augmented: Augmented | None
) -> Iterator[tuple[int, str]]:
    for name in () if augmented is None else augmented.drops:
        type_ = functions[name].params[0][1]
        if isinstance(type_, _wit.Handle):
            yield type_.resource.index, name
