"""The values of one call on their way to the guest, in one buffer.

What is inside a list or a record is behind it. Pointers are put in last, when the buffer no longer
grows and its address is fixed.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, final

from wasmpool_host import _capi
from wasmpool_host import _capi_component as capi

from .resources import close_object

if TYPE_CHECKING:
    from wasmpool_host import _wit
    from wasmpool_host._capi_component import ComponentStore

    from .resources import GuestResource

__all__ = ["ENTRY_SIZE", "OF", "VALUE", "Outgoing", "put_size"]

VALUE: Final = capi.VALUE
OF: Final = capi.OF
ENTRY_SIZE: Final = 16 + VALUE
"""Bytes of a record's entry: the name, then the value."""

put_size: Final = Struct("<Q").pack_into
"""Writes a size or an address."""
_put_u32: Final = Struct("<I").pack_into
_ALIGNED: Final = 8


@final
class Outgoing:
    """The values of one call, on their way to the guest.

    `seal` ends the writing; `release` must be called when Wasmtime has read them.
    """

    __slots__ = (
        "_borrowed",
        "_handles",
        "_lent",
        "_moved",
        "_owned",
        "_pointers",
        "buffer",
        "copies",
        "store",
        "weight",
    )

    def __init__(self, count: int, store: ComponentStore) -> None:
        """``count`` values are at the beginning."""
        self.buffer: bytearray = bytearray(count * VALUE)
        self.store: ComponentStore = store
        self._pointers: list[tuple[int, int]] = []
        self._owned: list[tuple[int, _wit.Resource, Any]] = []
        self._borrowed: list[tuple[int, _wit.Resource, Any]] = []
        self._moved: list[tuple[int, GuestResource, bool]] = []
        self._handles: list[int] = []
        self._lent: list[tuple[int, int]] = []
        self.copies: list[tuple[int, bytes | bytearray | memoryview]] = []
        """What is to be copied into the guest's memory, and where to write the pointer to it."""
        self.weight: int = 0
        """How many bytes these are, by what they would cost as values."""

    def add(self, content: bytes | bytearray) -> int:
        """Put bytes at the end; return where."""
        at = len(self.buffer)
        self.buffer += content
        padding = -len(content) % _ALIGNED
        if padding:
            self.buffer += bytes(padding)
        return at

    def point(self, at: int, target: int) -> None:
        """Have the address of one offset written at another."""
        self._pointers.append((at, target))

    def copy(self, at: int, content: bytes | bytearray | memoryview, weight: int) -> None:
        """Have bytes copied into the guest's memory, and the pointer to them written."""
        self.copies.append((at, content))
        self.weight += weight

    def put_pointer(self, at: int, pointer: int) -> None:
        """Write a pointer into the guest's memory."""
        _put_u32(self.buffer, at, pointer)

    def give(self, at: int, resource: _wit.Resource, value: Any, *, owned: bool) -> None:
        """Have a host resource written: for the guest to keep, or for the length of the call."""
        (self._owned if owned else self._borrowed).append((at, resource, value))

    def hand_back(self, at: int, handle: GuestResource, *, owned: bool) -> None:
        """Have a resource of the guest's own written."""
        self._moved.append((at, handle, owned))

    def seal(self) -> int:
        """Write the resources and the pointers; return the buffer's address.

        Resources are last: a value that does not fit leaves no trace of those before it.
        """
        buffer = self.buffer
        self._owned.reverse()
        while self._owned:  # what is left of them when it fails: see `close_refused`
            at, resource, value = self._owned[-1]
            self._put_host(at, resource, value, owned=True)
            self._owned.pop()
        for at, resource, value in self._borrowed:
            self._put_host(at, resource, value, owned=False)
        for at, handle, owned in self._moved:
            pointer = handle.lend(owned=owned)
            self._handles.append(pointer)
            put_size(buffer, at, pointer)
        base = _capi.address(buffer)
        for at, target in self._pointers:
            put_size(buffer, at, base + target)
        return base

    def _put_host(self, at: int, resource: _wit.Resource, value: Any, *, owned: bool) -> None:
        """Write a handle. One that is lent is owned by the host: Wasmtime lends it to the guest."""
        store = self.store
        rep = store.handles.add(value, owned=owned)
        pointer = store.lower_resource(rep, resource.index)
        self._handles.append(pointer)
        if not owned:
            self._lent.append((rep, pointer))
        put_size(self.buffer, at, pointer)

    def close_refused(self) -> None:
        """Close the objects that were to be the guest's, and that it has no handles of."""
        owned, self._owned = self._owned, []
        with ExitStack() as stack:
            for _, _, value in owned:
                stack.callback(close_object, value)

    def release(self) -> None:
        """Free what the values have needed."""
        lent, self._lent = self._lent, []
        for rep, pointer in lent:
            with suppress(_capi.CApiError):  # the call has failed, and the guest still has it
                self.store.lift_resource(pointer)
            self.store.handles.take_back(rep)
        handles, self._handles = self._handles, []
        for handle in handles:
            capi.delete_handle(handle)

    def __del__(self) -> None:
        for handle in self._handles:  # the call has failed, and the instance with it
            capi.delete_handle(handle)
