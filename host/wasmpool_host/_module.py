"""A compiled module, linked to what it imports."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, final

import trio
from trio.lowlevel import enable_ki_protection

from . import _binary, _cache, _capi
from ._blocking import BlockingCalls
from ._compiler import LARGE, compile_apart, compile_here
from ._engine import Engine, check_process, shared_engine
from ._errors import CompileError, GuestMemoryError, LinkError
from ._host_call import ENTRY
from ._host_function import HostFunction
from ._instance import Instance
from ._limits import Limits
from ._pace import Pace
from ._read import read
from ._signature import Signature
from ._types import PAGE, ExternType, FunctionType

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    import wasmtime

    from ._wasi import Wasi

__all__ = ["Module"]

_MALLOC: Final = ("malloc", "guest_malloc")
_FREE: Final = ("free", "guest_free")
_MALLOC_TYPE: Final = FunctionType(("i32",), ("i32",))
_FREE_TYPE: Final = FunctionType(("i32",), ())
_NOTHING: Final = FunctionType((), ())
_EXCHANGE: Final = {True: FunctionType(("i64",), ("i64",)), False: FunctionType((), ("i64",))}

WASI: Final = "wasi_snapshot_preview1"

_COMPILING: Final = BlockingCalls("compilations")

_MOST: Final = 12
"""Names of a guest in a message, and how many missing imports get a suggestion."""
_LONGEST: Final = 60
"""Characters of a guest's name in a message."""


@final
class Module:
    """Compiled code with its imports resolved, from which any number of instances are made.

    `Module.compile` makes it. It may be used in any trio run of the process, from any thread,
    but not in a forked child.

    Attributes:
        name: the source file's stem, else the name in the module, else part of its digest.
        digest: the SHA-256 of the binary, in hexadecimal.
        exports: types by name.
        imports: types by ``"module.name"``.
        limits, wasi: as given.
    """

    def __init__(
        self,
        source: Source,
        compiled: wasmtime.Module,
        host_functions: Sequence[HostFunction],
        wasi: Wasi,
        limits: Limits,
    ) -> None:
        """Link; `Module.compile` is what makes modules."""
        outline = _binary.outline(source.binary)
        self.digest: str = source.digest
        self.name: str = source.name or (outline.name or self.digest[:12])[:_LONGEST]
        self.engine: Engine = shared_engine()
        self.limits: Limits = limits
        self.wasi: Wasi = wasi
        self.exports: Mapping[str, ExternType] = MappingProxyType(outline.exports)
        self.imports: Mapping[str, ExternType] = MappingProxyType(
            {f"{module}.{name}": type_ for module, name, type_ in outline.imports}
        )
        self.identity: tuple[Hashable, ...] = (self.digest, tuple(host_functions), wasi, limits)
        self._check_memory(outline)
        provided = provide(host_functions, outline, wasi)
        self.imported: tuple[HostFunction, ...] = _resolve(str(self), outline, provided)
        self.prepared: _capi.Prepared = _link(self.engine, compiled, self.imported)
        self.is_reactor: bool = self.exports.get("_initialize") == _NOTHING
        self.start_label: str = f"the start of {self}"
        self.start_pace: Pace = Pace()
        """That of its start function, which may be a long one."""
        self._signatures: dict[str, Signature] = {}
        self._paces: dict[str, Pace] = {}
        self._labels: dict[str, str] = {}

    @classmethod
    async def compile(
        cls,
        source: bytes | bytearray | str | os.PathLike[str],
        *,
        imports: Sequence[HostFunction] = (),
        wasi: Wasi | None = None,
        limits: Limits | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> Module:
        """Compile a module, in a thread; or in another process, if it is large and others serve.

        Args:
            source: the binary, the text format as a str, or the path of either in a file.
            imports: host functions that it may import; more than it needs do no harm.
            wasi: what it gets of WASI preview 1, if it imports that. None is `Wasi()`: shut.
            limits: what each instance may take.
            cache: a directory for compiled code, made if need be. It may be shared by
                processes; whoever can write to it decides what is run.

        Raises:
            CompileError: the source is no valid module, or needs what is out of scope.
            LinkError: it imports what nobody provides, all of it listed.
            GuestMemoryError: its memory or a table starts above ``limits``.
            OSError: the file cannot be read; or (``EAGAIN``) so many reads or compilations were
                cancelled and still run that no more are begun.
            RuntimeError: in a forked child, or faulthandler was switched after the first compile.

        A cancel returns at once; the thread finishes the compilation, and its result is dropped.
        A process is killed.
        """
        from . import Wasi  # noqa: PLC0415 - `import wasmpool` is faster without it

        check_process()
        _check_imports(imports)
        _check_type("limits", limits, Limits)
        _check_type("wasi", wasi, Wasi)
        limits = limits if limits is not None else Limits()
        wasi = wasi if wasi is not None else Wasi()
        # Absolute from here on: the process may change its directory before a thread opens it.
        directory = _absolute(cache)
        given = await Source.given(source)

        def begin() -> Module | Source:
            """Make the module, unless another process is to compile it."""
            read = given()
            engine = shared_engine()
            engine.check_faulthandler()
            compiled = _cache.find(engine.wasmtime, read.digest, directory)
            if compiled is None:
                if engine.serves and len(read.binary) >= LARGE:
                    return read
                return complete(read)
            return cls(read, compiled, tuple(imports), wasi, limits)

        def complete(read: Source, code: bytes | None = None) -> Module:
            compiled = _compiled(shared_engine(), read, code)
            _cache.keep(compiled, read.digest, directory)
            return cls(read, compiled, tuple(imports), wasi, limits)

        made = await _COMPILING.run(begin)
        if isinstance(made, Module):
            return made
        code = await compile_apart(made.binary, made.label)
        return await _COMPILING.run(complete, made, code)

    @enable_ki_protection
    async def instantiate(self) -> Instance:
        """Make an instance: run its start function, and ``_initialize`` where it is a reactor.

        Raises:
            GuestTrap, GuestExit, CallTimeout, BaseException: as the start function ends.
            MemoryError: there is no room for another instance; the message names the limit.
            RuntimeError: in a forked child, or faulthandler was switched after the first compile.

        It is a checkpoint. A cancel ends the start function, and nothing is left of the instance.
        """
        check_process()
        await trio.lowlevel.checkpoint()
        instance, ready = self.start_instance()
        if not ready:
            await self.finish_start(instance)
        return instance

    @enable_ki_protection
    def start_instance(self) -> tuple[Instance, bool]:
        """The first slice of `instantiate`: the instance, and whether it is ready.

        All is done in this one step. What is not ready then is to be given to `finish_start`.
        """
        check_process()
        self.engine.check_faulthandler()
        instance = Instance(self)
        try:
            return instance, instance._start()  # noqa: SLF001 - the other half of making one
        except BaseException:
            instance.close_now()
            raise

    @enable_ki_protection
    async def finish_start(self, instance: Instance) -> None:
        """The rest of `instantiate`: it raises and is cancelled as that."""
        try:
            await instance._finish_start()  # noqa: SLF001 - likewise
        except BaseException:
            with trio.CancelScope(shield=True):
                await instance.aclose()
            raise

    def __str__(self) -> str:
        return f"module {self.name!r}"

    def __repr__(self) -> str:
        return f"<Module {self.name!r}: {len(self.exports)} exports, {len(self.imports)} imports>"

    # --- for the instances ---

    def new_store(self, key: int) -> _capi.Store:
        """A store within the limits, for one instance."""
        limits = self.limits
        return _capi.Store(self.engine.pointer, key, limits.memory, limits.table_elements)

    def label(self, export: str) -> str:
        """An export as messages name it."""
        found = self._labels.get(export)
        if found is None:
            found = self._labels[export] = f"{self.name}.{export}"
        return found

    def pace(self, export: str) -> Pace:
        """Where an export's calls start."""
        return self._paces.setdefault(export, Pace())

    def signature(self, export: str) -> Signature:
        """An exported function's type.

        Raises:
            ValueError: there is no such export.
            TypeError: it is no function, or has values that cannot be passed.
        """
        found = self._signatures.get(export)
        if found is None:
            found = Signature(self._function_type(export), f"export {self.label(export)}")
            self._signatures[export] = found
        return found

    def _function_type(self, export: str) -> FunctionType:
        type_ = self.exports.get(export)
        if isinstance(type_, FunctionType):
            return type_
        if type_ is not None:
            message = f"{self}: export {export!r} is no function, but a {type_}"
            raise TypeError(message)
        raise ValueError(f"{self} has no export {export!r}{self._suggestion(export)}")

    def _suggestion(self, export: str) -> str:
        functions = [
            name for name, type_ in self.exports.items() if isinstance(type_, FunctionType)
        ]
        near = _similar(export, functions)
        if near:
            return f"; did you mean {near!r}?"
        if not functions:
            return "; it exports no function"
        some = ", ".join(name[:_LONGEST] for name in functions[:_MOST])
        return f"; its functions are {some}{', ...' if len(functions) > _MOST else ''}"

    def malloc(self) -> str:
        """The export that allocates.

        Raises:
            LinkError: there is none of the right type.
        """
        for name in _MALLOC:
            if self.exports.get(name) == _MALLOC_TYPE:
                return name
        message = (
            f"{self} exports neither 'malloc' nor 'guest_malloc' of type {_MALLOC_TYPE}, which"
            " bytes can only be passed to a guest by"
        )
        raise LinkError(message)

    def free(self) -> str | None:
        """The export that frees, if there is one of the right type."""
        return next((name for name in _FREE if self.exports.get(name) == _FREE_TYPE), None)

    def check_exchanges(self, export: str, payload: object) -> None:
        """Raise where an export cannot exchange a payload."""
        if payload is not None and not isinstance(payload, bytes):
            given = type(payload).__name__
            message = f"{self.label(export)}: the payload must be bytes or None, not {given}"
            raise TypeError(message)
        wanted = _EXCHANGE[payload is not None]
        if self.exports[export] != wanted:
            kind = "with" if payload is not None else "without"
            message = (
                f"export {self.label(export)} has the type {self.exports[export]}: an exchange"
                f" {kind} a payload needs {wanted}"
            )
            raise TypeError(message)
        if payload is not None and len(payload) > self.limits.payload:
            message = (
                f"{self.label(export)}: a payload of {len(payload):,} bytes is above"
                f" limits.payload={self.limits.payload:,}"
            )
            raise ValueError(message)

    def check_payload(self, size: int, what: str) -> None:
        if size > self.limits.payload:
            message = f"{what} {size:,} bytes, above limits.payload={self.limits.payload:,}"
            raise GuestMemoryError(message)

    def _check_memory(self, outline: _binary.Outline) -> None:
        """Refuse at once what could not be instantiated within the limits."""
        limits = self.limits
        for memory in outline.memories:
            if memory.minimum * PAGE > limits.memory:
                message = (
                    f"{self}: its memory starts with {memory.minimum * PAGE:,} bytes, above"
                    f" limits.memory={limits.memory:,}"
                )
                raise GuestMemoryError(message)
        for table in outline.tables:
            if table.minimum > limits.table_elements:
                message = (
                    f"{self}: a table starts with {table.minimum:,} elements, above"
                    f" limits.table_elements={limits.table_elements:,}"
                )
                raise GuestMemoryError(message)


# --- the source -----------------------------------------------------------------------------


@final
class Source:
    """A module's bytes, and what to call it."""

    def __init__(self, binary: bytes, name: str | None) -> None:
        self.binary = binary
        self.name = name
        self.digest: str = hashlib.sha256(binary).hexdigest()
        self.label: str = f"module {name!r}" if name else f"the module of {len(binary):,} bytes"

    @classmethod
    async def read(cls, source: Any) -> Source:
        """All of it, off the loop; it raises as `Module.compile` does."""
        return await _COMPILING.run(await cls.given(source))

    @classmethod
    async def given(cls, source: Any) -> Callable[[], Source]:
        """Read the file, if it is one; what is left takes time, but waits for nothing."""
        if isinstance(source, str):
            return lambda: cls(_assemble(source, "the text"), None)
        if isinstance(source, (bytes, bytearray, memoryview)):
            return partial(cls, bytes(source), None)  # a copy, if the caller could change it
        if isinstance(source, os.PathLike):
            path = Path(source)
            return partial(cls._of_file, path, await read(path))
        message = f"a module's source is bytes, text as a str, or a path; not {source!r}"
        raise TypeError(message)

    @classmethod
    def _of_file(cls, path: Path, content: bytes) -> Source:
        if path.suffix == ".wat":
            content = _assemble(content.decode("utf-8", "replace"), str(path))
        return cls(content, path.stem)


def _absolute(cache: str | os.PathLike[str] | None) -> Path | None:
    return Path(cache).absolute() if cache is not None else None


def _compiled(engine: Engine, read: Source, code: bytes | None) -> wasmtime.Module:
    if code is not None:
        with suppress(_capi.CApiError):
            return _capi.deserialize(engine.wasmtime, code)
    return compile_here(engine.wasmtime, read.binary, read.label)


def _assemble(text: str, what: str) -> bytes:
    try:
        return _capi.text_to_binary(text)
    except _capi.CApiError as error:
        hint = "" if "(" in text else " (a str is a module's text: give a pathlib.Path for a file)"
        message = f"{what} is no module in the text format{hint}: {error}"
        raise CompileError(message) from None


# --- linking --------------------------------------------------------------------------------


def _check_type(knob: str, value: object, type_: type) -> None:
    if value is not None and not isinstance(value, type_):
        message = f"{knob} must be a {type_.__name__}(...) or None, not {value!r}"
        raise TypeError(message)


def _check_imports(imports: Sequence[HostFunction]) -> None:
    if not isinstance(imports, (list, tuple)):
        message = f"imports must be a list of host functions, not {imports!r}"
        raise TypeError(message)
    seen: set[str] = set()
    for item in imports:
        if not isinstance(item, HostFunction):
            message = f"imports are made by @host_function(module, name, ...); {item!r} is none"
            raise TypeError(message)
        if str(item) in seen:
            message = f"imports has two host functions {item}: a module can be given one of a name"
            raise ValueError(message)
        seen.add(str(item))


def provide(
    host_functions: Sequence[HostFunction], outline: _binary.Outline, wasi: Wasi
) -> dict[tuple[str, str], HostFunction]:
    """By module and name; the caller's own before WASI's, so that one of these can be replaced.

    Of WASI it is what the module imports.
    """
    provided: dict[tuple[str, str], HostFunction] = {}
    if _imports_wasi(outline):
        from ._wasi._preview1 import FUNCTIONS, wasi_imports  # noqa: PLC0415 - for who needs it

        names = {name for module, name, _ in outline.imports if module == WASI} & FUNCTIONS.keys()
        provided.update({(each.module, each.name): each for each in wasi_imports(wasi, names)})
    provided.update({(each.module, each.name): each for each in host_functions})
    return provided


def _imports_wasi(outline: _binary.Outline) -> bool:
    return any(module == WASI for module, _, _ in outline.imports)


def _names(outline: _binary.Outline, provided: Mapping[tuple[str, str], HostFunction]) -> list[str]:
    """All that a module could import that imports this."""
    names = [str(function) for function in provided.values()]
    if _imports_wasi(outline):
        from ._wasi._preview1 import FUNCTIONS  # noqa: PLC0415 - likewise

        names += [f"{WASI}.{name}" for name in FUNCTIONS]
    return names


def _resolve(
    owner: str, outline: _binary.Outline, provided: Mapping[tuple[str, str], HostFunction]
) -> tuple[HostFunction, ...]:
    """The host functions that are imported; their place here is what the entry callback is told."""
    found: dict[tuple[str, str], HostFunction] = {}
    missing: list[str] = []
    for module, name, type_ in outline.imports:
        function = provided.get((module, name))
        if function is not None and function.type == type_:
            found[module, name] = function
        else:
            near = _names(outline, provided) if len(missing) < _MOST else []
            missing.append(_why_missing(module, name, type_, function, near))
    if missing:
        message = f"{owner} imports what nobody provides:\n" + "\n".join(dict.fromkeys(missing))
        raise LinkError(message)
    return tuple(found.values())


def _why_missing(
    module: str,
    name: str,
    type_: ExternType,
    function: HostFunction | None,
    names: Sequence[str],
) -> str:
    line = f"  {module}.{name}: {type_}"
    if function is not None:
        return f"{line} (the host function of that name is {function.type})"
    near = _similar(f"{module}.{name}", names)
    return f"{line} (there is {near})" if near else line


def _similar(name: str, names: Sequence[str]) -> str | None:
    """The one that was probably meant; a guest may have many and long names, so only of some."""
    if len(name) > _LONGEST:
        return None
    import difflib  # noqa: PLC0415 - for an error's message

    short = [each for each in names[: 50 * _MOST] if len(each) <= _LONGEST]
    return next(iter(difflib.get_close_matches(name, short, n=1)), None)


def _link(
    engine: Engine, compiled: wasmtime.Module, imported: Sequence[HostFunction]
) -> _capi.Prepared:
    linker = _capi.Linker(engine.wasmtime)
    for index, function in enumerate(imported):
        linker.define(function.module, function.name, function.type, ENTRY, index)
    try:
        return linker.prepare(compiled)
    except _capi.CApiError as error:  # pragma: no cover - imports were matched by type
        raise LinkError(str(error)) from error
