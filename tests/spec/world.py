"""Instances of a script that depend on each other, and how they come back after a trap.

A trap poisons an instance for good, but the suite goes on with it. So a world keeps the steps that
led to its state, and takes them again in new instances. A call that trapped is no step: no module
of the suite relies on what such a call had changed before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.spec.verdict import Why

    from wasmpool_host import Instance, Module

__all__ = ["Guest", "World"]


@attrs.define(eq=False)
class Guest:
    """A module of the script, instantiated: what a name of the script stands for."""

    module: Module
    world: World
    instance: Instance

    async def call(self, field: str, *args: Any) -> Any:
        """Call an export, and take it as a step if it returns."""
        await self.world.mend()
        result = await self.instance.call(field, *args)
        self.world.steps.append(_Call(self, field, args))
        return result

    async def get(self, field: str) -> Any:
        """Read a global."""
        await self.world.mend()
        return self.instance.globals[field]


@attrs.frozen
class _Start:
    guest: Guest

    async def take(self) -> None:
        self.guest.instance = await self.guest.module.instantiate()


@attrs.frozen
class _Call:
    guest: Guest
    field: str
    args: tuple[Any, ...]

    async def take(self) -> None:
        await self.guest.instance.call(self.field, *self.args)


@attrs.define(eq=False)
class World:
    """The steps that instances have taken which may call each other."""

    steps: list[_Start | _Call] = attrs.Factory(list["_Start | _Call"])
    astray: Why | None = None
    """Why the instances are not as the script expects: what would have changed them was refused."""

    async def start(self, module: Module, linked: Iterable[Guest]) -> Guest:
        """Instantiate a module; the guests that it is linked to join this world."""
        for guest in linked:
            self._join(guest.world)
        await self.mend()
        guest = Guest(module, self, await module.instantiate())
        self.steps.append(_Start(guest))
        return guest

    async def mend(self) -> None:
        """Take all steps again, in new instances, if an instance is poisoned."""
        if any(guest.instance.poisoned for guest in self._guests()):
            await self.aclose()
            for step in self.steps:
                await step.take()

    async def aclose(self) -> None:
        """Close all instances."""
        for guest in self._guests():
            await guest.instance.aclose()

    def _guests(self) -> list[Guest]:
        return [step.guest for step in self.steps if isinstance(step, _Start)]

    def _join(self, other: World) -> None:
        if other is self:
            return
        self.astray = self.astray or other.astray
        self.steps += other.steps  # those of two worlds do not depend on each other
        for guest in other._guests():
            guest.world = self
