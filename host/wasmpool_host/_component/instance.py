"""One isolated instance of a component."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn, final
from weakref import ref

from trio.lowlevel import enable_ki_protection

from wasmpool_host import _capi_component as capi
from wasmpool_host._instance.driven_instance import DrivenInstance
from wasmpool_host._instance.instance import Instance
from wasmpool_host._instance.pending import PENDING

from . import resources
from .bytes_call import BytesCalls, are_worth_it, may_be_worth_it
from .crossing import ComponentCrossing
from .host_call import ComponentHostCall
from .resources import FULL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wasmpool_host import _capi
    from wasmpool_host._instance.memory import Memory
    from wasmpool_host._instance.pending import Pending

    from .augmented import RawFunction
    from .linked_component import LinkedComponent
    from .outgoing import Outgoing
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
        store.drop_resource = partial(_drop_resource, ref(self))
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

    def _start_call(self, name: str, args: Sequence[object]) -> Any:
        """Run the first slices of a call, as `Instance._start_call` does."""
        fiber = self._fiber
        if fiber.busy or self._closed or fiber.poisoned:
            self._refuse()
        if get_ident() != self._thread:
            self._refuse_thread()
        crossing: ComponentCrossing = self._crossings.get(name) or self._resolve(name)  # type: ignore[assignment]  # as `_new_crossing` makes
        if fiber.call_seconds is not None:
            fiber.start_clock()
        raw = crossing.raw
        much = crossing.returns_much
        if (
            raw is not None
            and may_be_worth_it(raw, args, returns_much=much)
            and self._store.find_memories()
        ):
            paired: ComponentCrossing = self._resolve(raw.call)  # type: ignore[assignment]  # as above
            out = paired.lay_out(args)
            if are_worth_it(out, returns_much=much):
                return self._start_bytes(raw, paired, out, crossing)
        result = crossing.start(args)
        if result is PENDING:
            self._note_pending(crossing)
        return result

    def _start_bytes(
        self,
        raw: RawFunction,
        paired: ComponentCrossing,
        out: Outgoing,
        stands_for: ComponentCrossing,
    ) -> Any:
        """Do the same for a call of several crossings."""
        calls = BytesCalls(self._fiber, self._resolve)
        self._exchange = calls  # type: ignore[assignment]  # what is pending, of several crossings
        result = calls.start(raw, paired, out, stands_for)
        if result is PENDING:
            self._note_pending(None)
        return result

    @property
    def _component(self) -> LinkedComponent:
        return self._module  # type: ignore[return-value]  # as `__init__` was given

    def _new_crossing(self, name: str, arena: _capi.Arena) -> ComponentCrossing:
        """Make an export ready to be bound to instances of this component."""
        module = self._component
        assert isinstance(arena, capi.ComponentArena)
        signature = module.wit_signature(name)
        return ComponentCrossing(
            arena, module.place(name), signature, history=module.history(name),
            label=module.label(name), payload=module.limits.payload, raw=module.raw.get(name),
            memory=module.memory_of(name),
        )  # fmt: skip

    def _program(self, export: str) -> str:
        return self._component.program(export)


async def _drop_resource(instance: ref[ComponentInstance], resource: GuestResource) -> None:
    """Have the guest drop a resource; without a function for that it stays to the end."""
    owner = instance()
    index = resource.resource.index
    name = None if owner is None else owner._component.drops.get(index)  # noqa: SLF001 - of this file
    if owner is None or name is None:
        resource.let_go()
    else:
        await owner.call(name, resource)


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

    # The same method: see `DrivenInstance`. A pool's own call has the instance only once, so what
    # it returns of the guest's resources is of no use.
    if TYPE_CHECKING:

        def start_call(self, name: str, args: Sequence[object]) -> Any:
            """See `ComponentInstance._start_call`, which this is."""
            ...

    else:
        start_call = ComponentInstance._start_call  # noqa: SLF001 - the base's own

    def __init__(self, component: LinkedComponent) -> None:
        """Open a store; `Component.new_instance` makes instances."""
        super().__init__(component)
        self._store.keeps_resources = False

    @enable_ki_protection
    async def call(self, name: str, *args: Any) -> Any:
        """Do `ComponentInstance.call`, for a setup or a check."""
        with self._keeping():
            return await super().call(name, *args)

    @enable_ki_protection
    async def run_call(self, name: str, args: Sequence[object]) -> Any:
        """Do `start_call` and `finish` within a lease, which keeps what it is given."""
        with self._keeping():
            return await super().run_call(name, args)

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        store = self._store
        store.keeps_resources = True
        try:
            yield
        finally:
            store.keeps_resources = False

    def end_output(self) -> None:
        """End the output, and the use of resources, of a lease."""
        self._store.end_tenure()
        if self._store.forgotten >= resources.MOST_HANDLES:
            self._fiber.poisoned = self._fiber.poisoned or FULL
        super().end_output()

    @property
    def memory_size(self) -> int:
        """Bytes of the memories that can be found; 0 during a call, and when closed."""
        store = self._store
        if self._fiber.busy or self._closed or not store.started:
            return 0
        return store.total_memory() if store.find_memories() else 0
