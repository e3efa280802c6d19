"""Resources: objects of the host that a guest has handles of, and those of the guest's own."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any, Final, final

from wasmpool_host import _capi_component as capi
from wasmpool_host._errors import GuestMemoryError
from wasmpool_host._escape import escaped

from .misfit import Misfit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wasmpool_host import _wit
    from wasmpool_host._capi_component import ComponentStore

__all__ = ["FULL", "MOST_HANDLES", "GuestResource", "HostHandles", "close_object"]

MOST_HANDLES: Final = 10_000
"""Handles of host resources, and of its own, that one instance may have at a time. A guest that
forgets to drop them ends here, before the process has no memory left."""

FULL: Final = "memory"
"""The word of `Instance.poisoned` for one with as many resources that nobody can drop any more: a
pool's callers have had them. The guest has done nothing wrong, so no call fails for it."""


@final
class HostHandles:
    """The objects of the host that a guest owns handles of, by the numbers that Wasmtime keeps.

    The object of a handle that the guest drops has its ``close`` called, if it has one; so have
    those that are left when the instance closes. Each handle is dropped once.
    """

    __slots__ = ("_lent", "_numbers", "_objects", "_owner")

    def __init__(self, owner: str) -> None:
        """``owner``: the component, in messages."""
        self._owner = owner
        self._objects: dict[int, Any] = {}
        self._lent: set[int] = set()
        """Numbers of objects that the guest only borrows."""
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._objects)

    def add(self, thing: Any, *, owned: bool = True) -> int:
        """Keep an object for the guest; return its number. One that is lent is not closed.

        Raises:
            GuestMemoryError: the guest has too many.
        """
        if len(self._objects) >= MOST_HANDLES:
            message = f"{self._owner} has {MOST_HANDLES:,} handles of host resources, and no more"
            raise GuestMemoryError(message)
        number = next(self._numbers) & 0xFFFFFFFF
        while number in self._objects:
            number = next(self._numbers) & 0xFFFFFFFF
        self._objects[number] = thing
        if not owned:
            self._lent.add(number)
        return number

    def get(self, number: int) -> Any:
        """The object of a number, which the guest lends."""
        return self._objects[number]

    def take(self, number: int) -> Any:
        """The object of a number, which the guest gives away."""
        return self._objects.pop(number)

    def take_back(self, number: int) -> None:
        """The call has ended for which an object was lent."""
        self._lent.discard(number)
        self._objects.pop(number, None)

    def drop(self, number: int) -> None:
        """The guest has dropped its handle: close the object."""
        close_object(self._objects.pop(number, None))

    def close(self) -> None:
        """The instance is gone: close all that it had, the last first, even if one fails."""
        objects, self._objects = self._objects, {}
        with contextlib.ExitStack() as stack:
            for number, thing in objects.items():
                if number not in self._lent:
                    stack.callback(close_object, thing)


def close_object(thing: Any) -> None:
    """Call the ``close`` of an object that the guest had, if it has one."""
    close = getattr(thing, "close", None)
    if callable(close):
        close()


@final
class GuestResource:
    """A resource of the guest's own, as one of its functions has returned it.

    It is given to other functions of the same instance: to its methods, which borrow it, or to one
    that takes it over. After that, and when its instance is closed, it is of no more use. What is
    left of it then is gone with the instance.
    """

    __slots__ = ("_drop", "_handle", "_resource", "_store", "_tenure")

    def __init__(self, handle: int, store: ComponentStore, resource: _wit.Resource) -> None:
        """The handle is freed with this object."""
        self._handle = handle
        self._store: ComponentStore | None = store
        self._resource = resource
        self._tenure = store.tenure
        self._drop: Callable[[GuestResource], Awaitable[Any]] | None = store.drop_resource

    @property
    def is_alive(self) -> bool:
        """False once it was dropped or given away, or its instance is closed."""
        return self._store is not None and bool(self._store.context)

    async def drop(self) -> None:
        """Drop it: the guest's destructor runs. Safe to call again.

        Raises:
            GuestTrap: the destructor trapped.
            RuntimeError: the lease in which it was returned has ended.
            Exception: as a call of the instance.

        A checkpoint and a cancel are as for `Instance.call`.
        """
        if not self.is_alive or self._drop is None:
            return
        assert self._store is not None  # as it is alive
        if self._tenure != self._store.tenure:
            raise RuntimeError(
                f"the {self._resource} belongs to a lease that has ended: drop it within the lease"
            )
        await self._drop(self)

    @property
    def resource(self) -> _wit.Resource:
        """Its type."""
        return self._resource

    def check(self, store: ComponentStore, resource: _wit.Resource) -> None:
        """Raise Misfit if it cannot be passed to a guest as such a resource."""
        if self._resource is not resource:
            raise Misfit(f"give a {resource}, not a {self._resource}")
        if not self.is_alive:
            raise Misfit(
                f"the {resource} is gone: it was dropped or given away, or its instance is"
            )
        if self._store is not store or self._tenure != store.tenure:
            raise Misfit(f"the {resource} belongs to another lease: make all its calls within one")

    def lend(self, *, owned: bool) -> int:
        """A handle for a call, to be freed by it; if ``owned``, this object has none any more."""
        if not owned:
            return capi.copy_handle(self._handle)
        handle, self._handle = self._handle, 0
        self.let_go()
        return handle

    def let_go(self) -> None:
        """Forget it: what is left of it is gone with the instance."""
        if self._store is not None:
            self._store.guest_handles -= 1
        self._store = None
        self._drop = None

    def __del__(self) -> None:
        if self._handle:
            capi.delete_handle(self._handle)
            self._handle = 0

    def __repr__(self) -> str:
        state = "" if self.is_alive else ", gone"
        return f"<GuestResource {escaped(self._resource.name)}{state}>"
