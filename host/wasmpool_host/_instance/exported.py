"""What an instance exports beside functions, by name: its globals and its memories."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, final

from wasmpool_host import _capi
from wasmpool_host._shown import shown
from wasmpool_host._suggest import similar
from wasmpool_host._types import PASSED, GlobalType, MemoryType

from .memory import Memory
from .signature import Values, convert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .linked_module import LinkedModule
    from .signature import Value

__all__ = ["Globals", "Memories"]

T = TypeVar("T", GlobalType, MemoryType)


@final
class Globals(Mapping[str, "Value"]):
    """The values of an instance's exported globals, by name; a mutable one can be set.

    Integers come back signed. Each use raises `trio.BusyResourceError` during a call, and
    `InstanceClosed` after the end; reading or setting a reference raises TypeError.
    """

    __slots__ = ("_check", "_module", "_store")

    def __init__(self, module: LinkedModule, store: _capi.Store, check: Callable[[], None]) -> None:
        """``check`` raises where the instance may not be used now."""
        self._module = module
        self._store = store
        self._check = check

    def __getitem__(self, name: str) -> Value:
        """Read a global; raise KeyError if none has this name."""
        self._check()
        type_ = self._type(name)
        values = Values((type_.content,), "value")
        buffer = values.buffer()
        _capi.read_global(self._store.context, self._store.export(name), buffer)
        value: Value = values.take(buffer)[0]
        return value

    def __setitem__(self, name: str, value: float | bytes) -> None:
        """Set a global, by a value as for an argument of its type in `Instance.call`.

        Raises:
            KeyError: no global has this name.
            TypeError: it is immutable; or the value is of another kind.
            ValueError: the value is outside of its type.
        """
        self._check()
        type_ = self._type(name)
        label = f"global {self._module.label(name)}"
        if not type_.mutable:
            message = f"{label} cannot be set: it is immutable"
            raise TypeError(message)
        values = Values((type_.content,), "value")
        buffer = values.buffer()
        given = convert(value, type_.content, f"{label} is of type {type_.content}")
        values.put(buffer, (given,), label)
        _capi.write_global(self._store.context, self._store.export(name), buffer)

    def __iter__(self) -> Iterator[str]:
        return iter(_named(self._module, GlobalType))

    def __len__(self) -> int:
        return len(_named(self._module, GlobalType))

    def __repr__(self) -> str:
        return f"<Globals of {self._module}: {len(self)}>"

    def _type(self, name: str) -> GlobalType:
        type_ = _type_of(self._module, name, GlobalType, "global")
        if type_.content not in PASSED:
            message = (
                f"global {self._module.label(name)} is of type {type_.content}: references cannot"
                " be passed between host and guest"
            )
            raise TypeError(message)
        return type_


@final
class Memories(Mapping[str, Memory]):
    """The exported memories of an instance, by name."""

    __slots__ = ("_check", "_module", "_store")

    def __init__(self, module: LinkedModule, store: _capi.Store, check: Callable[[], None]) -> None:
        """``check`` raises where the instance may not be used now."""
        self._module = module
        self._store = store
        self._check = check

    def __getitem__(self, name: str) -> Memory:
        """Return a memory, as `Instance.memory` is; raise KeyError if none has this name."""
        self._check()
        type_ = _type_of(self._module, name, MemoryType, "memory")
        extern = self._store.export(name)
        return Memory(partial(self._region, extern), bits=int(type_.address[1:]))

    def __iter__(self) -> Iterator[str]:
        return iter(_named(self._module, MemoryType))

    def __len__(self) -> int:
        return len(_named(self._module, MemoryType))

    def __repr__(self) -> str:
        return f"<Memories of {self._module}: {len(self)}>"

    def _region(self, extern: Any) -> tuple[int, int]:
        self._check()
        return self._store.region_of(extern)


def _named(module: LinkedModule, kind: type[T]) -> list[str]:
    return [name for name, type_ in module.exports.items() if isinstance(type_, kind)]


def _type_of(module: LinkedModule, name: object, kind: type[T], what: str) -> T:
    type_ = module.exports.get(name) if isinstance(name, str) else None
    if isinstance(type_, kind):
        return type_
    near = similar(name, _named(module, kind)) if isinstance(name, str) else ""
    hint = f"; did you mean {near!r}?" if near else ""
    message = f"{module} exports no {what} {shown(name)}{hint}"
    raise KeyError(message)
