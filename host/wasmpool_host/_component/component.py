"""A compiled component, linked to what it imports."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import trio
from trio.lowlevel import enable_ki_protection

from wasmpool_host import _wit
from wasmpool_host._engine import check_process, component_engine_of
from wasmpool_host._given import checked
from wasmpool_host._in_trio import check_trio
from wasmpool_host._instance.linked_module import Code
from wasmpool_host._instance.pending import PENDING
from wasmpool_host._linking import new_world
from wasmpool_host._suggest import LONGEST

from .augmented import HIDDEN
from .compiling import compile_component
from .imported import import_name
from .instance import ComponentInstance, DrivenComponentInstance
from .linked_component import LinkedComponent
from .linking import Provided, link, missing_of, resolve
from .reading import read_world
from .world import ComponentWorld

if TYPE_CHECKING:
    import os
    from collections.abc import Hashable, Mapping, Sequence

    from wasmpool_host._compile.source import Source
    from wasmpool_host._instance.host_function import HostFunction
    from wasmpool_host._limits import Limits
    from wasmpool_host._wasi import Wasi

    from .augmented import Augmented

__all__ = ["Component"]


@final
class Component:
    """A compiled component, linked to its imports, from which any number of instances are made.

    `Component.compile` makes it. It may be used in any trio run of the process, from any thread,
    but not in a forked child.

    Attributes:
        name: the source file's stem, else part of its digest.
        digest: the SHA-256 of the binary, in hexadecimal.
        exports: types of the functions and resources by name: ``"interface#name"`` of those in an
            interface. They read as in WIT.
        imports: the same of what it imports.
        limits: as given.
        wasi: as given.
        identity: equal for components of the same binary, imports, WASI and limits: a pool's reload
            from one to the other does nothing.
    """

    def __init__(  # noqa: PLR0913 - its parts, from one place
        self,
        source: Source,
        compiled: Any,
        host_functions: Sequence[HostFunction],
        *,
        wasi: Wasi,
        limits: Limits,
        augmented: Augmented | None,
    ) -> None:
        """Link the compiled code; `Component.compile` makes components."""
        engine = component_engine_of(limits.stack)
        world = read_world(engine.wasmtime, compiled, augmented)
        self.digest: str = source.digest
        self.name: str = (source.name or self.digest[:12])[:LONGEST]
        self.limits: Limits = limits
        self.wasi: Wasi = wasi
        self.imports: Mapping[str, _wit.WitFunction | _wit.Resource] = _flat(world.imports)
        self.exports: Mapping[str, _wit.WitFunction | _wit.Resource] = _flat(world.exports)
        self.identity: Hashable = (self.digest, tuple(host_functions), wasi, limits)
        imported = resolve(str(self), world, Provided(host_functions, wasi), augmented)
        functions = {
            name: type_
            for name, type_ in _all(world.exports).items()
            if isinstance(type_, _wit.WitFunction)
        }
        self._linked = LinkedComponent(
            self.name,
            code=Code(engine, link(str(self), engine.wasmtime, compiled, world, imported)),
            compiled=compiled,
            functions=functions,
            limits=limits,
            imported=imported,
            new_world=partial(new_world, wasi, self.name),
            augmented=augmented,
        )

    @classmethod
    async def compile(
        cls,
        source: bytes | bytearray | str | os.PathLike[str] | Source,
        *,
        imports: Sequence[HostFunction] = (),
        wasi: Wasi | None = None,
        limits: Limits | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> Component:
        """Compile a component: in a thread, or a large one in a process if instances are open.

        Args:
            source: the binary, the text format as a str, or the path of either in a file; or a
                `Source` of `wasmpool_host.lowlevel`, which was read before.
            imports: host functions that it may import; it need not import all of them. Their types
                are the component's: ``@host_function(interface, name)`` gives none.
            wasi: what it gets of WASI, if it imports that. None is `Wasi()`: shut.
            limits: what each instance may take. ``memory`` is for each of its memories, of which it
                may have 8.
            cache: a directory for compiled code, as for `Module.compile`.

        Raises:
            CompileError: the source is no valid component, or needs what is not supported.
            LinkError: it imports what is not provided; all of that is listed.
            ImportError: the installed Wasmtime cannot run components as they are run here.
            OSError, TypeError, ValueError, RuntimeError: as `Module.compile`.

        A cancel returns at once; the thread finishes the compilation, and its result is dropped.
        A process is killed.
        """
        given = checked(
            "Component.compile", source, imports=imports, wasi=wasi, limits=limits, cache=cache
        )

        def make(read: Source, compiled: Any, augmented: Augmented | None) -> Component:
            return cls(
                read, compiled, given.imports,
                wasi=given.wasi, limits=given.limits, augmented=augmented,
            )  # fmt: skip

        return await compile_component(given.source, make, given.limits.stack, given.directory)

    @classmethod
    async def inspect(
        cls,
        source: bytes | bytearray | str | os.PathLike[str] | Source,
        *,
        imports: Sequence[HostFunction] = (),
        cache: str | os.PathLike[str] | None = None,
    ) -> ComponentWorld:
        """Read what a component imports and exports, also of one that cannot be linked.

        Args:
            source: as for `compile`.
            imports: host functions that it may import, beside those of WASI.
            cache: as for `compile`.

        Raises:
            CompileError, ImportError, OSError, TypeError, ValueError, RuntimeError: as `compile`.

        A cancel is as for `compile`.
        """
        given = checked(
            "Component.inspect", source, imports=imports, wasi=None, limits=None, cache=cache
        )
        provided = Provided(given.imports, given.wasi)
        stack = given.limits.stack

        def make(_: Source, compiled: Any, augmented: Augmented | None) -> ComponentWorld:
            world = read_world(component_engine_of(stack).wasmtime, compiled, augmented)
            return ComponentWorld(
                _flat(world.imports), _flat(world.exports), missing_of(world, provided)
            )

        return await compile_component(given.source, make, stack, given.directory)

    @enable_ki_protection
    async def instantiate(self) -> ComponentInstance:
        """Make an instance.

        Raises:
            GuestTrap, CallTimeout, BaseException: as a start function in it ends.
            MemoryError: there is no room for another instance; the message names the limit.
            RuntimeError: outside of trio, in a forked child, or faulthandler was switched after the
                first compile.

        It is a checkpoint. A cancel ends the start, and nothing is left of the instance.
        """
        check_process()
        check_trio("Component.instantiate")
        await trio.lowlevel.checkpoint()
        instance = ComponentInstance(self._linked)
        if instance._start() is PENDING:  # noqa: SLF001 - public in `DrivenInstance` only
            await instance._finish()  # noqa: SLF001 - as above
        return instance

    @property
    def is_program(self) -> bool:
        """True if it exports ``wasi:cli/run`` of version 0.2: `ComponentInstance.run` calls it."""
        return self._linked.command is not None

    def new_instance(self) -> DrivenComponentInstance:
        """Make an instance that is not started, in one step: for a pool.

        Raises:
            MemoryError, RuntimeError: as `instantiate`.
        """
        return DrivenComponentInstance(self._linked)

    def __str__(self) -> str:
        return f"component {self.name!r}"

    def __repr__(self) -> str:
        return (
            f"<Component {self.name!r}: {len(self.exports)} exports, {len(self.imports)} imports>"
        )


def _all(
    items: Mapping[str, Mapping[str, _wit.WitFunction | _wit.Resource]],
) -> dict[str, _wit.WitFunction | _wit.Resource]:
    """Imports or exports by their whole names."""
    return {
        import_name(interface, name): type_
        for interface, inside in items.items()
        for name, type_ in inside.items()
    }


def _flat(
    items: Mapping[str, Mapping[str, _wit.WitFunction | _wit.Resource]],
) -> Mapping[str, _wit.WitFunction | _wit.Resource]:
    """The same without those that were added to the component."""
    return MappingProxyType(
        {
            name: type_
            for name, type_ in _all(items).items()
            if not name.rpartition("#")[2].startswith(HIDDEN)
        }
    )
