"""What a set-up instance has that a new one of its module has not."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from wasmpool_host._errors import SnapshotError
from wasmpool_host._types import PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .anatomy import Anatomy
    from .image import Chunk
    from .instance import SnapshotInstance
    from .instrument import Hidden

__all__ = ["State", "StateReader", "check_module"]


@attrs.frozen(eq=False, repr=False)
class State:
    """The state of an instance, for `rewritten`. It holds what the setup knew: secrets, too."""

    memories: Sequence[Sequence[Chunk]]
    pages: Sequence[int]
    """The size of each memory."""
    globals: Mapping[int, bytes]
    """The mutable ones that are not as they were, by index, as in memory; null has no bytes."""
    dropped_data: frozenset[int]
    dropped_elements: frozenset[int]


def check_module(owner: str, anatomy: Anatomy) -> None:
    """Refuse a module of whose instances no snapshot can be made, whatever they have done.

    Raises:
        SnapshotError: its globals, tables or segments begin with objects of the garbage collector.
            Code may have changed their fields, which no host can read.
    """
    if anatomy.makes_objects:
        message = (
            f"{owner}: a global, a table or a segment of elements begins with a structure or an"
            " array of the garbage collector, whose fields a snapshot cannot read"
        )
        raise SnapshotError(message)


@final
class StateReader:
    """Reads one instance: first before any of its code has run, and then when it is set up."""

    def __init__(
        self,
        owner: str,
        anatomy: Anatomy,
        hidden: Hidden,
        memory_names: Sequence[str],
        instance: SnapshotInstance,
    ) -> None:
        self._owner = owner
        self._anatomy = anatomy
        self._hidden = hidden
        self._memory_names = memory_names
        self._instance = instance
        self._tables: dict[int, bytes] = {}
        self._functions: dict[int, bytes] = {}

    async def read_before(self) -> None:
        """Read what may not change: tables, and the functions that globals refer to."""
        self._tables = await self._read_tables()
        self._functions = self._read_functions()

    async def read_after(self) -> State:
        """Read the whole state. The instance is of no use afterwards.

        Raises:
            SnapshotError: a part of it cannot be written down.
        """
        await self._check_tables()
        await self._check_references()
        chunks: list[Sequence[Chunk]] = []
        pages: list[int] = []
        for name in self._memory_names:
            size, found = await self._instance.memory_chunks(name)
            pages.append(size // PAGE)
            chunks.append(found)
        return State(
            chunks, pages, self._read_globals(), await self._dropped_data(),
            await self._dropped_elements(),  # the last: where a probe traps, no call is right
        )  # fmt: skip

    # --- tables and references ---

    async def _read_tables(self) -> dict[int, bytes]:
        return {
            index: await self._instance.table_digest(self._hidden.of("table", index))
            for index, table in enumerate(self._anatomy.tables)
            if table.kind.is_function
        }

    async def _check_tables(self) -> None:
        for index, digest in (await self._read_tables()).items():
            if digest != self._tables[index]:
                message = (
                    f"{self._owner}: table {index} was changed at run time, by growth or by other"
                    " functions, and a snapshot cannot tell which functions are in it"
                )
                raise SnapshotError(message)

    async def _check_references(self) -> None:
        for index, table in enumerate(self._anatomy.tables):
            if not table.kind.is_function:
                await self._check_null("table", index, table.kind.name)
        for index, each in enumerate(self._anatomy.globals):
            if each.is_mutable and not (each.kind.size or each.kind.is_function):
                await self._check_null("global", index, each.kind.name)

    async def _check_null(self, what: str, index: int, type_: str) -> None:
        if await self._instance.ask(self._hidden.of(what, index)):
            message = (
                f"{self._owner}: {what} {index} holds a reference, of type {type_}, which a"
                " snapshot cannot write down"
            )
            raise SnapshotError(message)

    # --- globals ---

    def _read_functions(self) -> dict[int, bytes]:
        return {
            index: self._instance.global_bytes(self._hidden.of("global", index))
            for index, each in enumerate(self._anatomy.globals)
            if each.is_mutable and each.kind.is_function
        }

    def _read_globals(self) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for index, each in enumerate(self._anatomy.globals):
            if not each.is_mutable:
                continue
            if each.kind.size:
                content = self._instance.global_bytes(self._hidden.of("global", index))
                found[index] = content[: each.kind.size]
            elif not each.kind.is_function:
                found[index] = b""  # as `_check_references` has seen
        for index, function in self._read_functions().items():
            if function == self._functions[index]:
                continue
            if any(function):
                message = (
                    f"{self._owner}: global {index} refers to another function than at the start,"
                    " and a snapshot cannot tell to which"
                )
                raise SnapshotError(message)
            found[index] = b""
        return found

    # --- segments ---

    async def _dropped_data(self) -> frozenset[int]:
        if not self._anatomy.counts_data:
            return frozenset()
        return frozenset(
            [
                index
                for index, data in enumerate(self._anatomy.data)
                if data.is_passive and data.content
                if await self._instance.is_dropped(self._hidden.of("data", index))
            ]
        )

    async def _dropped_elements(self) -> frozenset[int]:
        return frozenset(
            [
                index
                for index, element in enumerate(self._anatomy.elements)
                if element.is_passive and element.count
                if await self._instance.is_dropped(self._hidden.of("element", index))
            ]
        )
