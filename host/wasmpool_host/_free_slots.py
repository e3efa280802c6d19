"""Give back the memory that free slots of pooled engines keep.

When an instance in a slot ends, Wasmtime clears the first part of its memory instead of giving it
to the kernel, so that the next instance there costs no page faults. It has no function to give this
memory back later, and every slot that was ever used keeps some. That is 32 MiB with all slots, and
128 MiB with all wide ones.

So the free slots are taken, all of them, by instances of a module whose memory has no page. While
such an instance exists, its slot belongs to this code and to no guest, and the slot's memory has no
content that anybody may read: the kernel can take it. When the instance ends, there is nothing to
clear. An instance that is opened meanwhile finds no slot free, and is made in the ordinary engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import _capi
from ._engine import pooled_engines
from ._open_instances import open_instances
from ._scheduling.loop_share import run_shielded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._engine import Engine

__all__ = ["give_back_kept_memory", "give_back_when_none_is_open", "instances_opened",
           "slots_keeping_memory"]  # fmt: skip

_MUCH: Final = 4 << 20
"""Bytes that are worth the milliseconds that it takes to give them back."""


def slots_keeping_memory() -> int:
    """Return in how many free slots there may be memory that is kept, in all engines."""
    return sum(engine.kept_slots for engine in pooled_engines())


def instances_opened() -> int:
    """Return how many instances were opened in this process, as a sign of whether it is busy."""
    return open_instances.opened


async def give_back_when_none_is_open() -> None:
    """Give the memory back if it is much, and no slot is in use. A cancel is not delivered here."""
    kept = sum(each.kept_slots * each.slots.kept_memory for each in pooled_engines())
    if not open_instances.in_slots and kept > _MUCH:
        await give_back_kept_memory()


async def give_back_kept_memory() -> None:
    """Give the memory that free slots keep back to the kernel.

    It takes some milliseconds of the loop, in pieces. A cancel is not delivered here.
    """
    for engine in pooled_engines():
        if engine.kept_slots:
            await run_shielded(_give_back(engine))


def _give_back(engine: Engine) -> Iterator[None]:
    count = open_instances.take_free_slots(engine)
    taken: list[_capi.EmptyInstance] = []
    try:
        module = _capi.empty_module(engine.wasmtime)
        for _ in range(count):
            instance = _capi.EmptyInstance(engine.pointer_at, module)
            taken.append(instance)
            instance.give_back(engine.slots.kept_memory)
            yield
        engine.kept_slots = engine.slots.instances - count  # the others will keep some later
    finally:
        for instance in taken:
            instance.delete()
        open_instances.return_free_slots(engine, count)
