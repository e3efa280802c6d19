"""The one instance that is set up for a snapshot: it is started by hand, and then read."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, final

from trio.lowlevel import checkpoint, enable_ki_protection

from wasmpool_host import _capi
from wasmpool_host._errors import GuestTrap, SnapshotError
from wasmpool_host._instance.call_history import CallHistory
from wasmpool_host._instance.caller import PROCESS
from wasmpool_host._instance.crossing import ExportCrossing
from wasmpool_host._instance.instance import Instance
from wasmpool_host._instance.memory import Memory
from wasmpool_host._instance.pending import PENDING
from wasmpool_host._instance.signature import Signature
from wasmpool_host._types import FunctionType

from .image import CHUNK, Chunk

if TYPE_CHECKING:
    from typing import Any

__all__ = ["SnapshotInstance"]

_STARTS: Final = Signature(FunctionType((), ()), "the start function")
_PROBES: Final = Signature(FunctionType((), ("i32",)), "a probe of the snapshot")

_ELEMENTS: Final = 1_000
"""Elements of a table that are read at once: about a millisecond."""

_ZEROS: Final = bytes(CHUNK)


@final
class SnapshotInstance(Instance):
    """An instance of an instrumented copy. What is read is between calls, by hidden names."""

    __slots__ = ()

    @enable_ki_protection
    async def open(self) -> None:
        """Make the guest, of which no code has run yet."""
        if self._start() is PENDING:
            await self._finish()

    # --- calls ---

    @enable_ki_protection
    async def run_start(self, name: str) -> None:
        """Run the start function, which the copy exports under this name."""
        label, history = self._module.start_label, self._module.start_history
        await self._cross(self._crossing(name, _STARTS, label, history))
        self._guest.end_output()

    @enable_ki_protection
    async def run_initialize(self, name: str) -> None:
        """Run an export of type () -> ()."""
        await self._cross(self._resolve(name))
        self._guest.end_output()

    @enable_ki_protection
    async def settle(self) -> None:
        """Free what the host holds in the guest's memory and would be lost there.

        The buffer of exchanges is kept: each instance of the snapshot begins with it.
        """
        if self._exchange is not None and self._exchange.start_settling() is PENDING:
            self._note_pending(None)
            await self._finish()

    @property
    def exchange_buffer(self) -> tuple[int, int]:
        """Where the buffer of exchanges is, and its capacity."""
        exchange = self._exchange
        return self._module.exchange_buffer if exchange is None else exchange.buffer

    @enable_ki_protection
    async def ask(self, probe: str) -> bool:
        """Return what a probe returns."""
        crossing = self._crossing(probe, _PROBES, f"a probe of {self._module}", CallHistory())
        await self._cross(crossing)
        return bool(crossing.take())

    @enable_ki_protection
    async def is_dropped(self, probe: str) -> bool:
        """Return True if the segment of a probe is empty by now. The instance is of no use then."""
        try:
            await self.ask(probe)
        except GuestTrap:
            return True
        return False

    def has_called(self, export: str) -> bool:
        """Return True if an export was called, or may have been."""
        return export in self._crossings

    # --- between the setup and the end ---

    def seal(self) -> None:
        """Shut out all tasks but the snapshot's own: one that the setup has left is refused now.

        To such a task the instance is closed, also by a `Memory` that it has kept.
        """
        self._closed = True

    def check_fit(self) -> None:
        """Refuse an instance that its setup has left in a state that the host keeps.

        Raises:
            SnapshotError: naming the state.
        """
        if self._fiber.busy:
            raise SnapshotError(f"{self._module}: a call is under way when its setup has ended")
        if self.poisoned is not None:
            message = (
                f"{self._module}: its setup has left the instance {self._condition()}: have it"
                " raise the error of the call that failed"
            )
            raise SnapshotError(message)
        for key, value in (self._guest.state or {}).items():
            if key is not PROCESS:
                message = (
                    f"{self._module}: a host function keeps state of the instance (caller.state)"
                    " after its setup, and the instances of a snapshot would not have it"
                )
                raise SnapshotError(message)
            unlike = value.why_unlike_new()
            if unlike is not None:
                message = f"{self._module}: after its setup, {unlike}, in the guest's own WASI"
                raise SnapshotError(message)

    # --- reading ---

    async def memory_chunks(self, name: str) -> tuple[int, list[Chunk]]:
        """Read a memory: its size in bytes, and what of it is not zero. A checkpoint in between."""
        extern = self._fiber.store.export(name)
        _, total = self._fiber.store.region_of(extern)
        memory = self._memory_of(extern)
        chunks: list[Chunk] = []
        for address in range(0, total, CHUNK):
            content = memory.read(address, min(CHUNK, total - address))
            if content != _ZEROS[: len(content)]:
                chunks.append(Chunk(address, content))
            await checkpoint()
        return total, chunks

    def global_bytes(self, name: str) -> bytes:
        """Read a global of the copy: its value as in memory, or the function that it refers to."""
        store = self._fiber.store
        return _capi.read_global_bytes(store.context, store.export(name))

    async def table_digest(self, name: str) -> bytes:
        """Read a table of functions: equal for the same functions at the same places."""
        store = self._fiber.store
        extern = store.export(name)
        size = _capi.table_size(store.context, extern)
        digest = hashlib.sha256(size.to_bytes(8, "little"))
        for start in range(0, size, _ELEMENTS):
            stop = min(start + _ELEMENTS, size)
            digest.update(_capi.table_functions(store.context, extern, start, stop))
            await checkpoint()
        return digest.digest()

    # --- inside ---

    def _memory_of(self, extern: Any) -> Memory:
        return Memory(lambda: self._fiber.store.region_of(extern), bits=64)

    def _crossing(
        self, name: str, signature: Signature, label: str, history: CallHistory
    ) -> ExportCrossing:
        arena = self._bindings.arena
        crossing = ExportCrossing(arena, arena.place(name), signature, history, label)
        crossing.bind(self._fiber)
        return crossing

    async def _cross(self, crossing: ExportCrossing) -> None:
        """Make one crossing, and hold the instance for as long as it takes."""
        await checkpoint()
        self._fiber.start_clock()
        if crossing.start(()) is not PENDING:
            return
        self._note_pending(crossing)
        await self._finish(ends_output=False)
