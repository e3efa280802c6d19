"""One isolated instance of a component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, final

from trio.lowlevel import enable_ki_protection

from wasmpool_host import _capi_component as capi
from wasmpool_host._instance.driven_instance import DrivenInstance
from wasmpool_host._instance.instance import Instance

from .crossing import ComponentCrossing
from .host_call import ComponentHostCall

if TYPE_CHECKING:
    from wasmpool_host import _capi
    from wasmpool_host._instance.memory import Memory
    from wasmpool_host._instance.pending import Pending

    from .linked_component import LinkedComponent
    from .resources import GuestResource

__all__ = ["ComponentInstance", "DrivenComponentInstance"]

_HANDLES = object()
"""The key, in the guest's state, of its handles of host resources: they are closed with it."""


class ComponentInstance(Instance):
    """One isolated instance of a component: one call at a time, with values by their WIT types.

    `Component.instantiate` makes it, in the trio run and the thread that it is then used in. Close
    it with `aclose`.
    """

    __slots__ = ()

    _new_host_call = ComponentHostCall

    def __init__(self, component: LinkedComponent) -> None:
        """Open a store; `Component.instantiate` makes instances."""
        super().__init__(component)
        store = self._store
        store.drop_resource = self._drop_resource
        self._guest.keep_state()[_HANDLES] = store.handles

    @enable_ki_protection
    async def call(self, name: str, *args: Any) -> Any:
        """Call an exported function.

        Args:
            name: the function's; ``"interface#function"`` if it is in an interface.
            args: one value for each parameter.

        Returns:
            The result, or None if the function has none.

        Raises:
            TypeError: an argument does not fit its type; the message has the way to what is wrong.
            ValueError: no such export.
            GuestMemoryError: the result has more than ``limits.payload`` bytes in strings and
                lists, or the guest has too many handles.
            Exception: as `Instance.call`.

        A checkpoint and a cancel are as for `Instance.call`.
        """
        return await super().call(name, *args)

    @property
    def memory(self) -> Memory:
        """A component shows no memory: this raises TypeError."""
        raise TypeError(f"{self._module} shows no memory: its functions take and return values")

    @property
    def _store(self) -> capi.ComponentStore:
        store = self._fiber.store
        assert isinstance(store, capi.ComponentStore)
        return store

    def _start_exchange(self, name: str, payload: bytes | None = None) -> NoReturn:
        """A component's functions take bytes as ``list<u8>``."""
        del payload
        raise TypeError(
            f"{self._module} has no packed ABI: call {name!r} with the bytes, as a list<u8>"
        )

    def _new_crossing(self, name: str, arena: _capi.Arena) -> ComponentCrossing:
        """Make an export ready to be bound to instances of this component."""
        module: LinkedComponent = self._module  # type: ignore[assignment]  # as in `__init__`
        assert isinstance(arena, capi.ComponentArena)
        signature = module.wit_signature(name)
        return ComponentCrossing(
            arena, module.place(name), signature, history=module.history(name),
            label=module.label(name), payload=module.limits.payload,
        )  # fmt: skip

    def _program(self, export: str) -> str:
        module: LinkedComponent = self._module  # type: ignore[assignment]  # as in `__init__`
        return module.program(export)

    async def _drop_resource(self, resource: GuestResource) -> Any:
        raise NotImplementedError

    def _break_cycles(self) -> None:
        super()._break_cycles()
        self._store.drop_resource = None


@final
class DrivenComponentInstance(ComponentInstance, DrivenInstance):
    """A `ComponentInstance` whose owner starts it, and its calls, step by step."""

    __slots__ = ()

    if TYPE_CHECKING:

        def start_exchange(self, name: str, payload: bytes | None = None) -> bytes | Pending:
            """It raises TypeError, as `ComponentInstance.exchange`."""
            ...

    else:
        start_exchange = ComponentInstance._start_exchange  # noqa: SLF001 - the base's own
