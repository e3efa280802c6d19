"""A compiled module, linked to what it imports."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, final

import trio
from trio.lowlevel import enable_ki_protection

from wasmpool_host._compile import binary as binary_module
from wasmpool_host._compile import cache as cache_module

from . import _capi
from ._compile.compiler import MAGIC, SUBPROCESS_THRESHOLD, compile_here, compile_in_subprocess
from ._engine import Engine, check_process, shared_engine
from ._errors import CompileError, GuestMemoryError, LinkError
from ._escape import escaped
from ._in_trio import check_trio
from ._instance.call_history import CallHistory
from ._instance.host_call import ENTRY
from ._instance.host_function import HostFunction
from ._instance.instance import Instance
from ._instance.signature import Signature
from ._limits import Limits
from ._regular_file import open_regular, read_at_most
from ._scheduling.blocking_calls import BlockingCalls
from ._shown import shown
from ._types import PAGE, ExternType, FunctionType, MemoryType

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import wasmtime

    from ._wasi import Wasi

__all__ = ["Module"]

_HIDDEN_MEMORY: Final = "wasmpool:memory"
"""What compiled code exports a memory by that its source does not export, to be counted."""

_MALLOC: Final = ("malloc", "guest_malloc")
_FREE: Final = ("free", "guest_free")
_MALLOC_TYPE: Final = FunctionType(("i32",), ("i32",))
_FREE_TYPE: Final = FunctionType(("i32",), ())
_NOTHING: Final = FunctionType((), ())
_EXCHANGE: Final = {True: FunctionType(("i64",), ("i64",)), False: FunctionType((), ("i64",))}

FILE_MOST: Final = 256 << 20
"""Bytes of a file that a module is read from: ten times as many as the largest in use have."""

_COMPILING: Final = BlockingCalls("compilations", limit=16)

WASI: Final = "wasi_snapshot_preview1"

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
        limits: as given.
        wasi: as given.
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
        outline = source.outline or binary_module.outline(source.binary)
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
        self.memory_export: str | None = _memory_export(outline)
        """What its compiled code exports its memory by, also where its source does not."""
        self._added = len(source.code) - len(source.binary)
        provided = provide(host_functions, outline, wasi)
        self.imported: tuple[HostFunction, ...] = _resolve(str(self), outline, provided)
        self.prepared: _capi.Prepared = _link(self.engine, compiled, self.imported)
        self.is_reactor: bool = self.exports.get("_initialize") == _NOTHING
        self.start_label: str = f"the start of {self}"
        self.start_history: CallHistory = CallHistory()
        """That of its start function, which may be a long one."""
        self._signatures: dict[str, Signature] = {}
        self._histories: dict[str, CallHistory] = {}
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
            cache: a directory for compiled code, made if need be. It may be shared by processes
                of one user. It decides what code is run, so others must not be able to write to
                it; a sticky directory will do.

        Raises:
            CompileError: the source is no valid module, needs what is out of scope, or is a file
                of more than 256 MiB; or the process that compiled it was killed.
            LinkError: it imports what nobody provides, all of it listed.
            GuestMemoryError: its memory or a table starts above ``limits``, or it has more than
                16 tables.
            OSError: the file cannot be read, or is no regular file; or (``EAGAIN``) 32 compilations
                were cancelled and their threads, perhaps on a disk that is silent, still run.
            TypeError: an argument is of the wrong type.
            ValueError: two imports have one name; or others can write to the cache directory.
            RuntimeError: outside of trio, in a forked child, or faulthandler was switched after the
                first compile.

        A cancel returns at once; the thread finishes the compilation, and its result is dropped.
        A process is killed.
        """
        from . import Wasi  # noqa: PLC0415 - `import wasmpool` is faster without it

        check_process()
        check_trio("Module.compile")
        _check_imports(imports)
        # Copies: what is given may be changed while a thread, or another process, compiles.
        imports = tuple(imports)
        if isinstance(source, (bytearray, memoryview)):
            source = bytes(source)
        _check_type("limits", limits, Limits)
        _check_type("wasi", wasi, Wasi)
        limits = limits if limits is not None else Limits()
        wasi = wasi if wasi is not None else Wasi()
        directory = None
        if cache is not None:
            directory = Path(cache).absolute()  # noqa: ASYNC240 - it looks at no file

        def begin() -> Module | Source:
            """Make the module, unless another process is to compile it."""
            read = Source.read(source)
            engine = shared_engine()
            engine.check_faulthandler()
            compiled = cache_module.find(engine.wasmtime, read.code_digest, directory)
            if compiled is None:
                if engine.serves and len(read.binary) >= SUBPROCESS_THRESHOLD:
                    return read
                return complete(read)
            return cls(read, compiled, imports, wasi, limits)

        def complete(read: Source, code: bytes | None = None) -> Module:
            compiled = _compiled(shared_engine(), read, code)
            cache_module.keep(compiled, read.code_digest, directory)
            return cls(read, compiled, imports, wasi, limits)

        made = await _COMPILING.run(begin)
        if isinstance(made, Module):
            return made
        code = await compile_in_subprocess(made.code, made.label)
        return await _COMPILING.run(complete, made, code)

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
        return _capi.Store(
            self.engine.pointer, key, limits.memory, limits.table_elements, self._added
        )

    def label(self, export: str) -> str:
        """An export as messages name it."""
        found = self._labels.get(export)
        if found is None:
            found = self._labels[export] = f"{escaped(self.name)}.{escaped(export)}"
        return found

    def history(self, export: str) -> CallHistory:
        """Where an export's calls start."""
        return self._histories.setdefault(export, CallHistory())

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
        if not isinstance(export, str):
            message = f"{self}: the name of an export is a str, not {shown(export)}"
            raise TypeError(message)
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
        some = ", ".join(escaped(name[:_LONGEST]) for name in functions[:_MOST])
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

    def _check_memory(self, outline: binary_module.Outline) -> None:
        """Refuse at once what could not be instantiated within the limits."""
        limits = self.limits
        for memory in outline.memories:
            if memory.minimum * PAGE > limits.memory:
                message = (
                    f"{self}: its memory starts with {memory.minimum * PAGE:,} bytes, above"
                    f" limits.memory={limits.memory:,}"
                )
                raise GuestMemoryError(message)
        if len(outline.tables) > _capi.TABLES:
            message = (
                f"{self} has {len(outline.tables):,} tables: an instance may have {_capi.TABLES} at"
                " most"
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

    def __init__(self, binary: bytes, path: Path | None = None) -> None:
        self.binary = binary
        self.path = path
        self.name: str | None = None if path is None else path.stem
        self.digest: str = hashlib.sha256(binary).hexdigest()
        self.outline: binary_module.Outline | None = _outline_of(binary)
        self.code: bytes = _countable(binary, self.outline)
        """What is compiled: the binary, or one with its memory exported."""
        same = self.code is binary
        self.code_digest: str = self.digest if same else hashlib.sha256(self.code).hexdigest()
        self.label: str = (
            f"the module of {len(binary):,} bytes" if path is None else f"file {str(path)!r}"
        )

    @classmethod
    def read(cls, source: Any) -> Source:
        if isinstance(source, Source):
            return source
        if isinstance(source, str):
            return cls(_assemble(_encoded(source), "the text"))
        if isinstance(source, (bytes, bytearray, memoryview)):
            return cls(bytes(source))
        if isinstance(source, os.PathLike):
            return cls._read_file(Path(source))
        message = f"a module's source is bytes, text as a str, or a path; not {source!r}"
        raise TypeError(message)

    @classmethod
    def _read_file(cls, path: Path) -> Source:
        shown_path = escaped(str(path))
        with open_regular(str(path)) as (fd, status):
            content = read_at_most(fd, FILE_MOST) if status.st_size <= FILE_MOST else None
        if content is None:
            message = f"{shown_path} has more than {FILE_MOST:,} bytes, which no module may have"
            raise CompileError(message)
        if path.suffix == ".wat":
            _check_utf_8(content, shown_path)
            content = _assemble(content, shown_path)
        return cls(content, path)


def _compiled(engine: Engine, read: Source, code: bytes | None) -> wasmtime.Module:
    if code is not None:
        with suppress(_capi.CApiError):
            return _capi.deserialize(engine.wasmtime, code)
    return compile_here(engine.wasmtime, read.code, read.label)


def _outline_of(binary: bytes) -> binary_module.Outline | None:
    """None for what is no valid module; the compiler says why."""
    if not binary.startswith(MAGIC):
        return None
    try:
        return binary_module.outline(binary)
    except Exception:  # noqa: BLE001 - whatever its bytes mislead the reader to
        return None


def _countable(binary: bytes, outline: binary_module.Outline | None) -> bytes:
    """The binary with its memory exported, for a pool's ``max_memory`` to see its size.

    The C API knows no other way to a memory.
    """
    if outline is None or _exported_memory(outline) is not None:
        return binary
    name = _memory_export(outline)
    return binary if name is None else binary_module.with_memory_exported(binary, name)


def _memory_export(outline: binary_module.Outline) -> str | None:
    """What a module's compiled code exports its memory by; None without one."""
    exported = _exported_memory(outline)
    if exported is not None or not outline.memories:
        return exported
    name = _HIDDEN_MEMORY
    while name in outline.exports:
        name += "_"
    return name


def _exported_memory(outline: binary_module.Outline) -> str | None:
    """One name of the memory; more than one memory is a proposal that is off."""
    names = [name for name, type_ in outline.exports.items() if isinstance(type_, MemoryType)]
    return "memory" if "memory" in names else next(iter(names), None)


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        message = (
            "the text is no module in the text format: it has no form in UTF-8, as character"
            f" {error.start:,} is {half!r}"
        )
        raise CompileError(message) from error


def _check_utf_8(text: bytes, path: str) -> None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        message = (
            f"{path} is no module in the text format: it is no UTF-8, as byte {error.start:,} is"
            f" 0x{text[error.start]:02x}"
        )
        raise CompileError(message) from error


def _assemble(text: bytes, what: str) -> bytes:
    """Assemble a module's text, which is UTF-8 or refused."""
    try:
        return _capi.text_to_binary(text)
    except _capi.CApiError as error:
        hint = "" if b"(" in text else " (a str is a module's text: give a pathlib.Path for a file)"
        reason = "\n".join(map(escaped, str(error).splitlines()))
        message = f"{what} is no module in the text format{hint}: {reason}"
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
    host_functions: Sequence[HostFunction], outline: binary_module.Outline, wasi: Wasi
) -> dict[tuple[str, str], HostFunction]:
    """By module and name; the caller's own before WASI's, so that one of these can be replaced.

    Of WASI it is what the module imports.
    """
    provided: dict[tuple[str, str], HostFunction] = {}
    if _imports_wasi(outline):
        from ._wasi.preview1 import FUNCTIONS, wasi_imports  # noqa: PLC0415 - for who needs it

        names = {name for module, name, _ in outline.imports if module == WASI} & FUNCTIONS.keys()
        provided.update({(each.module, each.name): each for each in wasi_imports(wasi, names)})
    provided.update({(each.module, each.name): each for each in host_functions})
    return provided


def _imports_wasi(outline: binary_module.Outline) -> bool:
    return any(module == WASI for module, _, _ in outline.imports)


def _names(
    outline: binary_module.Outline, provided: Mapping[tuple[str, str], HostFunction]
) -> list[str]:
    """All that a module could import that imports this."""
    names = [str(function) for function in provided.values()]
    if _imports_wasi(outline):
        from ._wasi.preview1 import FUNCTIONS  # noqa: PLC0415 - likewise

        names += [f"{WASI}.{name}" for name in FUNCTIONS]
    return names


def _resolve(
    owner: str, outline: binary_module.Outline, provided: Mapping[tuple[str, str], HostFunction]
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
    line = f"  {escaped(module)}.{escaped(name)}: {type_}"
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
