"""A compiled module with its host functions, as its instances see it."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar, final

from wasmpool_host import _capi
from wasmpool_host._escape import escaped
from wasmpool_host._shown import shown
from wasmpool_host._suggest import LONGEST, MOST, similar
from wasmpool_host._types import FunctionType, MemoryType

from .bindings import MOST_SPARE, Bindings
from .call_history import CallHistory
from .signature import Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wasmpool_host._engine import Engine
    from wasmpool_host._limits import Limits
    from wasmpool_host._types import ExternType

    from .host_function import Imported
    from .program import World

__all__ = ["Code", "LinkedModule"]


@final
class Code:
    """A module's code in one engine, linked to its host functions.

    Attributes:
        engine: the one that it was compiled by, or loaded into.
        prepared: ready to be instantiated there; or to be linked to a companion in each store.
    """

    __slots__ = ("engine", "prepared")

    def __init__(self, engine: Engine, prepared: _capi.Prepared | _capi.Linkable) -> None:
        self.engine: Engine = engine
        self.prepared: _capi.Prepared | _capi.Linkable = prepared


class LinkedModule:
    """What all instances of a module share; `Module` is what users see of it.

    Attributes:
        name: the module's.
        ordinary: its code in an ordinary engine.
        pooled: the same in a pooled engine, if it fits into a slot there.
        exports: types by name.
        limits: what each instance may take.
        imported: its host functions, by the index that the entry callback is given.
        memory_exports: the names by which the code exports its memories, one for each. Some may be
            missing from ``exports``.
        memory_bits: of a pointer into the memory that is called "memory": 32 or 64.
        maps: how many memory maps of the kernel an instance may take.
        initialize: the export that runs before an instance serves: ``_initialize`` of a reactor, or
            the ``reseed`` of a snapshot; None if it has neither.
        open_companion: makes the `Companion` of an instance; None for most modules.
        new_world: makes the world of a run, from what `Instance.run` is given.
        exchange_buffer: where the host's buffer for exchanges is in each instance from its
            beginning, and its capacity: in a snapshot. (0, 0) if there is none yet.
        start_label: names its start in messages.
        start_history: how long its starts took lately.
    """

    is_component: ClassVar[bool] = False
    """True if no host function can reach into its memory or call it back."""

    def __init__(  # noqa: PLR0913 - its parts, from one place
        self,
        name: str,
        *,
        ordinary: Code,
        pooled: Code | None,
        exports: Mapping[str, ExternType],
        limits: Limits,
        imported: Sequence[Imported],
        memory_exports: tuple[str, ...],
        memory_limit: int,
        maps: int,
        added: int,
        initialize: str | None,
        open_companion: Callable[[Engine, _capi.Store], Any] | None,
        new_world: Callable[..., World],
        exchange_buffer: tuple[int, int],
    ) -> None:
        """Take the parts together.

        ``memory_limit`` is for each memory, while `limits` bounds all together. ``added`` is by how
        many bytes the code is longer than the module's own binary.
        """
        self.name: str = name
        self.ordinary: Code = ordinary
        self.pooled: Code | None = pooled
        self.exports: Mapping[str, ExternType] = exports
        self.limits: Limits = limits
        self.imported: Sequence[Imported] = imported
        self.memory_exports: tuple[str, ...] = memory_exports
        memory = exports.get("memory")
        wide = isinstance(memory, MemoryType) and memory.address == "i64"
        self.memory_bits: int = 64 if wide else 32
        self.maps: int = maps
        self.initialize: str | None = initialize
        self.open_companion: Callable[[Engine, _capi.Store], Any] | None = open_companion
        self.start_label: str = f"the start of {self}"
        self.start_history: CallHistory = CallHistory()
        self.new_world: Callable[..., World] = new_world
        self.exchange_buffer: tuple[int, int] = exchange_buffer
        self._store_limits = _capi.store_limits(memory_limit, limits.table_elements)
        self._spare: list[Bindings[Any, Any]] = []
        """The bindings that closed instances have left; the last first, as they are in a cache."""
        self._added = added
        self.exchanged: set[str] = set()
        """Exports of the right type for exchanges, as some instance has found out."""
        self.free: str | None = ""
        """The export that frees their results, or None; empty until some instance has looked."""
        self._signatures: dict[str, Signature] = {}
        self._histories: dict[str, CallHistory] = {}
        self._labels: dict[str, str] = {}

    def __str__(self) -> str:
        return f"module {self.name!r}"

    def new_store(self, engine: Engine, key: int, arena: _capi.Arena) -> _capi.Store:
        """Make a store within the limits, for one instance."""
        return _capi.Store(engine.pointer_at, key, self._store_limits, arena, self._added)

    def take_bindings(self) -> Bindings[Any, Any]:
        """Return bindings for one instance, perhaps those that another has left."""
        try:
            return self._spare.pop()
        except IndexError:  # also if another thread was first
            return Bindings(_capi.Arena(self.memory_exports))

    def leave_bindings(self, bindings: Bindings[Any, Any]) -> None:
        """Keep the bindings of an instance that has ended, for the next one."""
        if len(self._spare) < MOST_SPARE:  # or a few more, if several threads do this at once
            self._spare.append(bindings)

    def with_code(self, code: Code, added: int) -> LinkedModule:
        """Return the same module with other code, whose instances are not initialized."""
        other = copy(self)
        other.ordinary, other.pooled, other.initialize = code, None, None
        other._added = added  # noqa: SLF001 - of the same class
        other._spare = []  # noqa: SLF001 - as above
        return other

    def label(self, export: str) -> str:
        """Return an export's name as messages show it."""
        # Threads may make one at the same time, here and in `signature`: each of them will do.
        found = self._labels.get(export)
        if found is None:
            found = self._labels[export] = f"{escaped(self.name)}.{escaped(export)}"
        return found

    def history(self, export: str) -> CallHistory:
        """Return how long an export's calls took lately, in all instances."""
        return self._histories.setdefault(export, CallHistory())

    def signature(self, export: str) -> Signature:
        """Return an exported function's type, ready to pass values by.

        Raises:
            ValueError: there is no such export.
            TypeError: it is no function, or has values that cannot be passed.
        """
        found = self._signatures.get(export)
        if found is None:
            found = Signature(self._function_type(export), f"export {self.label(export)}")
            self._signatures[export] = found
        return found

    def _function_type(self, export: str) -> FunctionType:
        if not isinstance(export, str):
            message = f"{self}: the name of an export is a str, not {shown(export)}"
            raise TypeError(message)
        type_ = self.exports.get(export)
        if isinstance(type_, FunctionType):
            return type_
        if type_ is not None:
            message = f"{self}: export {export!r} is no function, but a {type_}"
            raise TypeError(message)
        raise ValueError(f"{self} has no export {export!r}{self._suggestion(export)}")

    def _suggestion(self, export: str) -> str:
        functions = [
            name for name, type_ in self.exports.items() if isinstance(type_, FunctionType)
        ]
        near = similar(export, functions)
        if near:
            return f"; did you mean {near!r}?"
        if not functions:
            return "; it exports no function"
        some = ", ".join(escaped(name[:LONGEST]) for name in functions[:MOST])
        return f"; its functions are {some}{', ...' if len(functions) > MOST else ''}"
