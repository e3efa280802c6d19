"""A guest as its host functions see it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, final

import trio

from wasmpool_host import _capi
from wasmpool_host._errors import GuestMemoryError
from wasmpool_host._log_extra import NOBODY

from .host_call import NestedCall
from .memory import Memory
from .packed import check_packed, check_size, find_malloc, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .companion import Companion
    from .host_call import HostCall
    from .linked_module import LinkedModule
    from .signature import Results

__all__ = ["PROCESS", "Caller", "Guest"]


PROCESS: Final = object()
"""The key, in ``state``, of the guest's WASI process."""


@final
class Guest:
    """An instance as its host functions know it: its module, and the state that they keep."""

    __slots__ = ("companion", "log_extra", "module", "state")

    def __init__(self, module: LinkedModule) -> None:
        self.module: LinkedModule = module
        self.companion: Companion | None = None
        """What it has beside it in its store; None for most guests."""
        self.log_extra: Mapping[str, object] = NOBODY
        """Attributes of its log records."""
        self.state: dict[object, Any] | None = None
        """None for most guests, so that their calls need not look into it."""

    def make_caller(self, call: HostCall) -> Caller:
        """Make what the host function of one host call is given."""
        return Caller(call, self)

    def keep_state(self) -> dict[object, Any]:
        """Return ``state``, and make it if there is none."""
        if self.state is None:
            self.state = {}
        return self.state

    def enter_world(self, process: Any) -> None:
        """Give the guest another WASI process, in place of what its start was given."""
        state = self.keep_state()
        before = state.get(PROCESS)
        state[PROCESS] = process
        if before is not None:
            before.close()

    def leave_world(self) -> None:
        """Close the WASI process: its program has ended."""
        process = self.state.pop(PROCESS, None) if self.state else None
        if process is not None:
            process.close()

    def end_output(self) -> None:
        """Log what it has printed of a line without its end."""
        process = self.state.get(PROCESS) if self.state else None
        if process is not None:
            process.end_output()

    def close(self) -> None:
        """Close all values of ``state`` that can be closed, even if one fails."""
        if not self.state:
            return
        with contextlib.ExitStack() as stack:
            for value in self.state.values():
                if callable(close := getattr(value, "close", None)):
                    stack.callback(close)
        self.state = None


@final
class Caller:
    """The guest that called a host function, for as long as that function runs.

    Used after the function has returned, or for two calls at once, it raises RuntimeError.
    """

    __slots__ = ("_call", "_guest")

    def __init__(self, call: HostCall, guest: Guest) -> None:
        self._call = call
        self._guest = guest

    @property
    def state(self) -> dict[object, Any]:
        """A dict that lives as long as the instance, for what host functions keep of a guest.

        Values with a ``close`` method have it called when the instance closes.
        """
        return self._guest.keep_state()

    @property
    def log_extra(self) -> Mapping[str, object]:
        """Whose guest it is: the ``extra`` of a log record about it.

        ``pool``, ``plugin``, ``instance`` (its number) and ``tool`` are in it, each None where
        there is none.
        """
        return self._guest.log_extra

    @property
    def memory(self) -> Memory:
        """The guest's linear memory."""
        self._check_module("looked into")
        return Memory(self._region, bits=self._guest.module.memory_bits)

    async def call(self, name: str, *args: float | bytes) -> Results:
        """Call an export of the guest, which waits in the host function.

        Args:
            name: the export's.
            args: as for `Instance.call`.

        Raises:
            GuestTrap: the nested call trapped; the instance is poisoned, though the outer call
                may continue. A call beyond 64 levels of guest and host is a trap, too.
            GuestExit, CallTimeout, GuestMemoryError, BaseException: how else the nested call ended,
                or what a host function in it raised.
            ValueError, TypeError: no such export, or arguments that do not fit it.
            RecursionError: there is too little left of the Python stack.
            RuntimeError: another call by this caller is under way, the host function has returned,
                or the guest has not started yet.

        A cancel ends the nested call, and the whole of the outer one with it.
        """
        self._check()
        self._check_module("called")
        module, call = self._guest.module, self._call
        signature = module.signature(name)
        store = call.fiber.store
        extern = store.export(name) if store.started else _capi.caller_function(call.caller, name)
        if extern is None:
            message = f"export {name!r} of {module} cannot be called before the guest has started"
            raise RuntimeError(message)
        nested = NestedCall(extern, signature, args, module.label(name))
        await self._before_call()
        return await call.fiber.call_back(call, nested, module.label(name))

    def read(self, packed: int) -> bytes:
        """Copy a packed region out (the plugin ABI: pointer high, size low, 32 bits each).

        In an Extism plugin it is the offset of a block instead, and the block is copied.

        Args:
            packed: an i64, signed as host functions get it, or unsigned.

        Raises:
            GuestMemoryError: it is outside the memory, or larger than ``limits.payload`` bytes; or
                no block begins there.
            TypeError, ValueError: it is no int, or needs more than 64 bits.
            RuntimeError: the host function has returned, or a call by this caller is under way.
        """
        check_packed(packed)
        companion = self._guest.companion
        if companion is not None:
            self._check()
            return companion.read(f"host function {self._call.function}", packed)
        ptr, size = unpack(packed)
        if not size:
            return b""
        check_size(self._guest.module, size, f"host function {self._call.function} was given")
        return self.memory.read(ptr, size)

    async def reply(self, data: bytes | bytearray | memoryview) -> int:
        """Copy ``data`` into memory from the guest's own malloc, for the guest to free.

        In an Extism plugin it is copied into a new block.

        Args:
            data: bytes, or any other buffer, of which the bytes are taken.

        Returns:
            The packed region, as an unsigned number; 0 for no bytes, without malloc. In an Extism
            plugin the offset of the block.

        Raises:
            LinkError: the guest exports neither ``malloc`` nor ``guest_malloc``.
            GuestMemoryError: malloc returned 0, or a region outside the memory; or there is no room
                for the block.
            TypeError: the data are no bytes.
            ValueError: there are 2**32 bytes of them, or more.
            GuestTrap, RuntimeError: as `call`.

        A cancel is as for `call`.
        """
        if not isinstance(data, bytes):
            data = bytes(memoryview(data))  # its bytes, however large its items are
        if not data:
            return 0
        self._check()
        companion = self._guest.companion
        if companion is not None:
            await self._before_call()
            given = companion.give(data)
            return given if given is not None else await self._alloc(data)
        malloc = find_malloc(self._guest.module)
        ptr = await self.call(malloc, len(data))
        if not ptr:
            message = f"{self._guest.module.label(malloc)} of {len(data):,} bytes returned 0"
            raise GuestMemoryError(message)
        self.memory.write(int(ptr), data)  # type: ignore[arg-type]  # an i32, as malloc's type was checked
        return pack(int(ptr), len(data))  # type: ignore[arg-type]  # an i32, as malloc's type was checked

    def _check_module(self, what: str) -> None:
        """Raise RuntimeError for a component: its instance may not be entered again."""
        module = self._guest.module
        if module.is_component:
            raise RuntimeError(
                f"{module} cannot be {what} by its host function: give it values, and return some"
            )

    async def _alloc(self, data: bytes) -> int:
        """Have the companion make a block of ``data``."""
        companion = self._guest.companion
        assert companion is not None  # checked by the callers
        await self._before_call()
        return await companion.alloc(self._call, data)

    async def _before_call(self) -> None:
        self._check()
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check()

    def _region(self) -> tuple[int, int]:
        self._check()
        store, companion = self._call.fiber.store, self._guest.companion
        # Not the memory of the C caller: that may be the exchange's helper.
        if store.started and not (companion is not None and companion.is_several):
            return store.memory_region()
        return _capi.caller_memory_region(self._call.caller)

    def _check(self) -> None:
        call = self._call
        if call.returned:
            message = (
                f"host function {call.function} has returned: its caller is of no use any more"
            )
            raise RuntimeError(message)
        if call.dropped:
            raise call.fiber.interrupted or RuntimeError("the guest that called is gone")
        if call.nested is not None:
            message = (
                f"host function {call.function} uses its caller twice at once: await the first"
                " call before the next use"
            )
            raise RuntimeError(message)
