"""A compiled module, linked to what it imports."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar, final

import trio
from trio.lowlevel import enable_ki_protection

from . import _capi
from ._compile import binary as binary_module
from ._compile.compiler import SUBPROCESS_THRESHOLD, compile_here, compile_in_subprocess
from ._compile.source import Source, memory_exports
from ._engine import check_faulthandler, check_process, engine_of, pooled_engine_of
from ._errors import CompileError, SnapshotError
from ._given import checked
from ._in_trio import check_trio
from ._instance.driven_instance import DrivenInstance
from ._instance.instance import Instance
from ._instance.linked_module import Code, LinkedModule
from ._instance.pending import PENDING
from ._linking import (
    check_limits,
    fits_into_slot,
    link,
    link_later,
    maps_of,
    new_world,
    resolve_all,
    slots_for,
)
from ._open_instances import open_instances
from ._scheduling.blocking_calls import BlockingCalls
from ._suggest import LONGEST
from ._types import FunctionType

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Hashable, Mapping, Sequence
    from pathlib import Path

    import wasmtime

    from ._compile.binary import Outline
    from ._engine import Engine
    from ._instance.companion import CompanionKind
    from ._instance.host_function import HostFunction
    from ._limits import Limits
    from ._snapshot.take import Plan, Setup, Taken
    from ._types import ExternType
    from ._wasi import Wasi

__all__ = ["DrivenModule", "Module", "compile_source"]

T = TypeVar("T")

_INITIALIZE: Final = "_initialize"
_RUNS: Final = FunctionType((), ())
_MOST_POOLED: Final = 1 << 19
"""Bytes of code that are loaded into a pooled engine as well, which takes as long as to load them
from a cache. An instance of a larger module takes long to start in any case."""
_MOST_POOLED_SNAPSHOT: Final = 1 << 24
"""The same of a snapshot, which is never loaded from a cache, and whose instances start fast: those
of QuickJS with a library take 0.4 of the time."""

_COMPILING: Final = BlockingCalls("compilations", limit=16)


@final
class Module:
    """Compiled code, linked to its imports, from which any number of instances are made.

    `Module.compile` makes it. It may be used in any trio run of the process, from any thread,
    but not in a forked child.

    Attributes:
        name: the source file's stem, else the name in the module, else part of its digest.
        digest: the SHA-256 of the binary, in hexadecimal.
        exports: types by name.
        imports: types by ``"module.name"``.
        limits: as given.
        wasi: as given.
    """

    def __init__(  # noqa: PLR0913 - its parts, from two places
        self,
        source: Source,
        compiled: wasmtime.Module,
        host_functions: Sequence[HostFunction],
        wasi: Wasi,
        limits: Limits,
        *,
        cache: Path | None = None,
        reseed: str | None = None,
        exchange_buffer: tuple[int, int] = (0, 0),
        companion: CompanionKind | None = None,
        most_pooled: int = _MOST_POOLED,
    ) -> None:
        """Link the compiled code; `Module.compile` makes modules.

        ``cache`` is where its snapshots' instrumented copies are kept, ``reseed`` the export that a
        snapshot's instances begin with, and ``exchange_buffer`` what they have for exchanges.
        ``companion`` is what each instance has beside it. Code
        of at most ``most_pooled`` bytes is loaded into a pooled engine as well.
        """
        outline = source.outline or binary_module.outline(source.binary)
        self._reseed = reseed
        self.digest: str = source.digest
        self.name: str = source.name or (outline.name or self.digest[:12])[:LONGEST]
        self.limits: Limits = limits
        self.wasi: Wasi = wasi
        self.exports: Mapping[str, ExternType] = MappingProxyType(outline.exports)
        self.imports: Mapping[str, ExternType] = MappingProxyType(
            {f"{module}.{name}": type_ for module, name, type_ in outline.imports}
        )
        # Kept for snapshots: the compiled code does not have it.
        self._binary: bytes = source.binary
        self._host_functions: tuple[HostFunction, ...] = tuple(host_functions)
        self._cache: Path | None = cache
        self._identity: tuple[Hashable, ...] = (
            self.digest, self._host_functions, wasi, limits, reseed, companion,
        )  # fmt: skip
        self._companion: CompanionKind | None = companion
        memory_limit = check_limits(str(self), outline, limits, companion)
        imported = resolve_all(str(self), outline, host_functions, wasi, companion)
        self._imported: tuple[HostFunction, ...] = imported
        self._linked = LinkedModule(
            self.name,
            ordinary=self._code(engine_of(limits.stack), compiled, imported),
            pooled=self._pooled_code(outline, compiled, imported, most_pooled),
            exports=self.exports,
            limits=limits,
            imported=imported,
            memory_exports=memory_exports(outline),
            memory_limit=memory_limit,
            maps=maps_of(outline, companion),
            added=len(source.code) - len(source.binary),
            initialize=self._initialize or reseed,
            open_companion=None if companion is None else partial(companion.open, limits),
            new_world=partial(new_world, wasi, self.name),
            exchange_buffer=exchange_buffer,
        )

    @property
    def _initialize(self) -> str | None:
        """The export that starts the guest's runtime."""
        if self._companion is not None:
            return self._companion.initialize(self.exports)
        return _INITIALIZE if self.exports.get(_INITIALIZE) == _RUNS else None

    def _code(
        self, engine: Engine, compiled: wasmtime.Module, imported: Sequence[HostFunction]
    ) -> Code:
        if self._companion is not None:
            self._companion.prepare(engine)
            return Code(engine, link_later(engine.wasmtime, compiled, imported))
        return Code(engine, link(str(self), engine.wasmtime, compiled, imported))

    def _pooled_code(
        self,
        outline: Outline,
        compiled: wasmtime.Module,
        imported: Sequence[HostFunction],
        most: int,
    ) -> Code | None:
        """Load the code into a pooled engine, too, if the module fits into a slot there."""
        if self._companion is not None:
            return None  # it would need two slots
        if len(self._binary) > most or not fits_into_slot(outline, self.limits):
            return None  # the code is longer than the binary, and to copy it all would take long
        code = _capi.serialize(compiled)
        if len(code) > most:
            return None
        engine = pooled_engine_of(self.limits.stack, slots_for(outline))
        if engine is None:
            return None
        try:
            return self._code(engine, _capi.deserialize(engine.wasmtime, code), imported)
        except _capi.CApiError:  # it needs more than a slot has, of what the outline does not say
            return None

    @classmethod
    async def compile(
        cls,
        source: bytes | bytearray | str | os.PathLike[str] | Source,
        *,
        imports: Sequence[HostFunction] = (),
        wasi: Wasi | None = None,
        limits: Limits | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> Module:
        """Compile a module: in a thread, or a large one in a process if instances are open.

        Args:
            source: the binary, the text format as a str, or the path of either in a file; or a
                `Source` of `wasmpool_host.lowlevel`, which was read before.
            imports: host functions that it may import; it need not import all of them.
            wasi: what it gets of WASI preview 1, if it imports that. None is `Wasi()`: shut.
            limits: what each instance may take.
            cache: a directory for compiled code, made if it is missing. Processes of one user may
                share it. Its files are run as code, so other users must not be able to write to
                it, unless it is sticky.

        Raises:
            CompileError: the source is no valid module, needs what is out of scope, or is a file
                of more than 256 MiB; or the process that compiled it was killed.
            LinkError: it imports what is not provided; all of that is listed.
            GuestMemoryError: its memory or a table starts above ``limits``, or it has more than
                16 tables.
            OSError: the file cannot be read, or is no regular file; or (``EAGAIN``) 32 compilations
                were cancelled and their threads still run, for a disk that does not answer.
            TypeError: an argument is of the wrong type.
            ValueError: two imports have one name; or others can write to the cache directory.
            RuntimeError: outside of trio, in a forked child, or faulthandler was switched after the
                first compile.

        A cancel returns at once; the thread finishes the compilation, and its result is dropped.
        A process is killed.
        """
        return await cls._compile(source, imports, wasi, limits, cache, None)

    @classmethod
    async def _compile(  # noqa: PLR0913, PLR0917 - as `compile`, and one more
        cls,
        source: bytes | bytearray | str | os.PathLike[str] | Source,
        imports: Sequence[HostFunction],
        wasi: Wasi | None,
        limits: Limits | None,
        cache: str | os.PathLike[str] | None,
        companion: CompanionKind | None,
    ) -> Module:
        """Do `compile`, of a module whose instances may have a ``companion``."""
        given = checked(
            "Module.compile", source, imports=imports, wasi=wasi, limits=limits, cache=cache
        )

        def make(read: Source, compiled: wasmtime.Module) -> Module:
            return cls(
                read, compiled, given.imports, given.wasi, given.limits,
                cache=given.directory, companion=companion,
            )  # fmt: skip

        read = partial(Source.read, given.source)
        return await compile_source(read, make, given.limits.stack, given.directory)

    @enable_ki_protection
    async def instantiate(self) -> Instance:
        """Make an instance: run its start function, and ``_initialize`` where it is a reactor.

        Raises:
            GuestTrap, GuestExit, CallTimeout, BaseException: as the start function ends.
            MemoryError: there is no room for another instance; the message names the limit.
            RuntimeError: outside of trio, in a forked child, or faulthandler was switched after the
                first compile.

        It is a checkpoint. A cancel ends the start function, and nothing is left of the instance.
        """
        check_process()
        check_trio("Module.instantiate")
        await trio.lowlevel.checkpoint()
        instance = Instance(self._linked)
        if instance._start() is PENDING:  # noqa: SLF001 - public in `DrivenInstance` only
            await instance._finish()  # noqa: SLF001 - as above
        return instance

    async def snapshot(
        self,
        setup: Setup | None = None,
        *,
        reseed: str | None = None,
        start_timeout: float | None = None,
    ) -> Module:
        """Set one instance up, and make a module whose instances begin where it stands then.

        One instance is started as by `instantiate`, and set up. Its memories and globals are
        written into a new module. The instances of that have no start and no ``_initialize`` left
        to run, and cost the same however long the setup took. It is a module like any other, with
        the same imports, WASI and limits, and a digest of its own. To compile it and the copy that
        is set up takes twice the time that this module took.

        **Secrets** that the setup gave to the guest are in the new module's code. So it is never
        written to a cache. Its digest depends on them: keep it out of logs that others read.

        **What the guest has learned is the same in all instances**: random numbers and times that
        it read, arguments, environment, handles that host functions gave it. A guest that seeds its
        random numbers at its start needs ``reseed``.

        Args:
            setup: called with the instance, and awaited if it is async, as a pool's ``setup``. Some
                ordinary calls in it warm up the guest, and its instances are faster.
            reseed: the name of an export of type () -> () that each new instance begins with. None
                is that of this module, if it is a snapshot itself.
            start_timeout: seconds for the start and the setup together. None is no limit.

        Raises:
            SnapshotError: a part of the instance cannot be written down: a table that was changed
                at run time, a reference in a global, an open file, state of a host function, a
                call that is still under way, objects of the garbage collector; or the new module
                cannot be compiled. The message says which.
            GuestTrap, GuestExit, CallTimeout, BaseException: as the start or the setup ended.
            trio.TooSlowError: ``start_timeout`` has passed.
            MemoryError: there is no room for another instance.
            TypeError, ValueError: an argument is of the wrong type, or there is no such export.
            RuntimeError: outside of trio, in a forked child, or faulthandler was switched after the
                first compile.

        A cancel leaves nothing behind; threads finish their compilations, as for `compile`.
        """
        from ._snapshot import take as snapshots  # noqa: PLC0415 - `import wasmpool` is faster without

        check_process()
        check_trio("Module.snapshot")
        why_not = None if self._companion is None else self._companion.why_no_snapshot
        if why_not is not None:
            raise SnapshotError(f"{self}: {why_not}")
        snapshots.check_setup(setup)
        if reseed is None:
            reseed = self._reseed
        elif self._linked.signature(reseed).type != _RUNS:
            message = f"reseed must be the name of an export of type {_RUNS}, not {reseed!r}"
            raise TypeError(message)
        snapshots.check_timeout(start_timeout)
        plan, copy = await self._instrumented()
        taken: Taken | None = None
        with trio.move_on_after(inf if start_timeout is None else start_timeout):
            taken = await snapshots.take(plan, copy, self._linked.initialize, setup)
        if taken is None:
            message = (
                f"{self}: the start and the setup for a snapshot took longer than"
                f" start_timeout={start_timeout} s"
            )
            raise trio.TooSlowError(message)
        write, buffer = taken.binary, taken.exchange_buffer  # here: it is not None any more

        def read() -> Source:
            return Source(write(), derived_from=self.name)

        def make(read: Source, compiled: wasmtime.Module) -> Module:
            functions, wasi, limits = self._host_functions, self.wasi, self.limits
            return Module(
                read,
                compiled,
                functions,
                wasi,
                limits,
                reseed=reseed,
                exchange_buffer=buffer,
                companion=self._companion,
                most_pooled=_MOST_POOLED_SNAPSHOT,
            )

        return await _compile_derived(self, read, make, None)

    async def _instrumented(self) -> tuple[Plan, LinkedModule]:
        """Compile the copy that is set up. It holds nothing that the module itself does not."""
        from ._snapshot.anatomy import body_at  # noqa: PLC0415 - as in `snapshot`
        from ._snapshot.take import make_plan  # noqa: PLC0415 - as in `snapshot`

        plans: list[Plan] = []

        def read() -> Source:
            plans.append(make_plan(str(self), self._binary, self._linked.memory_exports))
            return Source(plans[0].copy, derived_from=self.name)

        def make(read: Source, compiled: wasmtime.Module) -> LinkedModule:
            linked = self._linked
            added = body_at(read.code) - body_at(self._binary)
            code = self._code(linked.ordinary.engine, compiled, self._imported)
            return linked.with_code(code, added)

        copy = await _compile_derived(self, read, make, self._cache)
        return plans[0], copy

    def __str__(self) -> str:
        return f"module {self.name!r}"

    def __repr__(self) -> str:
        return f"<Module {self.name!r}: {len(self.exports)} exports, {len(self.imports)} imports>"


@final
class DrivenModule:
    """A `Module` as a pool sees it: it makes instances that are started step by step.

    Attributes:
        name: the module's.
        identity: equal for modules of the same binary, imports, WASI and limits.
    """

    __slots__ = ("_linked", "identity", "name")

    def __init__(self, module: Module) -> None:
        self.name: str = module.name
        self.identity: Hashable = module._identity  # noqa: SLF001 - the module hides it from its users
        self._linked = module._linked  # noqa: SLF001 - as above

    def new_instance(self) -> DrivenInstance:
        """Make an instance, in one step. `DrivenInstance.start` must be called next.

        Raises:
            MemoryError: there is no room for another instance; the message names the limit.
            RuntimeError: outside of trio, in a forked child, or faulthandler was switched after the
                first compile.
        """
        return DrivenInstance(self._linked)


async def compile_source(
    read: Callable[[], Source],
    make: Callable[[Source, wasmtime.Module], T],
    stack: int,
    directory: Path | None,
) -> T:
    """Read a source, compile it, and make something of both; all of this in threads.

    Args:
        read: reads the source.
        make: is given it, and the compiled code.
        stack: chooses the engine.
        directory: the cache, or None.
    """

    def begin() -> tuple[Source, T | None]:
        """Make it, unless another process is to compile the source."""
        source = read()
        engine = engine_of(stack)
        check_faulthandler()
        compiled = _cached(engine, source, directory)
        if compiled is not None:
            return source, make(source, compiled)
        if open_instances and len(source.binary) >= SUBPROCESS_THRESHOLD:
            return source, None
        return source, complete(source)

    def complete(source: Source, code: bytes | None = None) -> T:
        compiled = _compiled(engine_of(stack), source, code)
        if directory is not None:
            from ._compile import cache  # noqa: PLC0415 - as in `_cached`

            cache.keep(compiled, source.code_digest, directory)
        return make(source, compiled)

    source, made = await _COMPILING.run(begin)
    if made is not None:
        return made
    code = await compile_in_subprocess(source.code, source.label)
    return await _COMPILING.run(complete, source, code)


async def _compile_derived(
    module: Module,
    read: Callable[[], Source],
    make: Callable[[Source, wasmtime.Module], T],
    directory: Path | None,
) -> T:
    """Compile what was made of a module for a snapshot.

    Raises:
        SnapshotError: it cannot be compiled: it has more items than a module may have, or the
            process that compiled it was killed.
    """
    try:
        return await compile_source(read, make, module.limits.stack, directory)
    except CompileError as error:
        message = f"{module}: it cannot have a snapshot: {error}"
        raise SnapshotError(message) from error


def _cached(engine: Engine, source: Source, directory: Path | None) -> wasmtime.Module | None:
    if directory is None:
        return None
    from ._compile import cache  # noqa: PLC0415 - `import wasmpool` is faster without it

    return cache.find(engine.wasmtime, source.code_digest, directory)


def _compiled(engine: Engine, read: Source, code: bytes | None) -> wasmtime.Module:
    if code is not None:
        with suppress(_capi.CApiError):
            return _capi.deserialize(engine.wasmtime, code)
    return compile_here(engine.wasmtime, read.code, read.label)
