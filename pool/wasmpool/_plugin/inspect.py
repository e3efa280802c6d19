"""The report of ``wasmpool inspect``: what a module imports, exports and says about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import attrs
import trio

from wasmpool_host import (
    CallTimeout,
    GuestExit,
    GuestMemoryError,
    GuestTrap,
    Limits,
    LinkError,
    MemoryType,
    Module,
    Wasi,
)
from wasmpool_host.lowlevel import Source, outline, provide

from .contract import ABI_VERSION, FREE, MALLOC, OPTIONAL, REQUIRED, violations
from .environment import PluginEnvironment
from .errors import AbiError
from .module_kind import is_program, looks_like_plugin
from .revision import PluginRevision
from .source import as_module_source

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from .metadata import Metadata, Tool
    from .revision import Description
    from .source import PluginSource

__all__ = ["Inspection", "inspect_plugin"]

_SECONDS: Final = 10.0  # for each of the guest's answers
_GUEST_FAILED: Final = (AbiError, CallTimeout, GuestExit, GuestMemoryError, GuestTrap, LinkError)
_PAGE: Final = 65_536
_PROGRAM: Final = """Contract: not a plugin, but a program for WASI
  wasmpool exec FILE [ARG]...         runs it
  wasmpool run FILE [-- ARG...]       runs it once for each line of an input"""


@final
@attrs.frozen
class Inspection:
    """What a module imports and exports, and how a plugin describes itself; `str` is the report."""

    imports: tuple[tuple[str, object, bool], ...]
    """For each: ``"module.name"``, its type, and True if this host provides it."""
    exports: Mapping[str, object]
    """Types by name."""
    problems: tuple[str, ...]
    """Why this host cannot run it as a plugin; empty if it can."""
    description: Description | None
    """How it describes itself; None if it is not a plugin."""

    @property
    def meets_contract(self) -> bool:
        """True if it is a plugin of this host's ABI version."""
        return not self.problems

    def __str__(self) -> str:
        parts = [_imports_text(self.imports), _exports_text(self.exports)]
        if looks_like_plugin(self.exports):
            parts += [_memory_text(self.exports)]
        if self.description is not None:
            parts += [
                _metadata_text(self.description.metadata),
                _tools_text(self.description.tools),
            ]
        return "\n\n".join([*parts, self._verdict()])

    def _verdict(self) -> str:
        if self.meets_contract:
            return f"Contract: a plugin of ABI version {ABI_VERSION}"
        what = "not a plugin that this host can run"
        if is_program(self.exports):
            if all(provided for *_, provided in self.imports):
                return _PROGRAM
            what = "a program for WASI that this host cannot run"
        lines = (line for problem in self.problems for line in problem.splitlines())
        return "\n".join([f"Contract: {what}", *(f"  {_shown(line)}" for line in lines)])


async def inspect_plugin(
    source: PluginSource | Source, *, cache: str | os.PathLike[str] | None = None
) -> Inspection:
    """Inspect a module; if it is a plugin, also ask an instance of it to describe itself.

    The plugin gets no credentials and can reach no host.

    Args:
        source: as for `open_plugin`.
        cache: a directory for compiled code.

    Raises:
        CompileError: the file is not a valid module.
        OSError: the file cannot be read.

    A cancel ends the guest.
    """
    environment = PluginEnvironment(None, Limits(call_seconds=_SECONDS), None, cache)
    given = source if isinstance(source, Module) else await _read(source)
    try:
        module = await environment.compile(given)
        environment.name = lambda: module.name
    except (LinkError, GuestMemoryError) as failed:
        assert isinstance(given, Source)  # a `Module` is linked already
        return _inspect_unlinked(given, environment, failed)
    try:
        return await _inspect(module)
    finally:
        with trio.CancelScope(shield=True):
            await environment.http.aclose()


async def _inspect(module: Module) -> Inspection:
    problems = _problems(module.exports)
    description: Description | None = None
    if not problems:
        try:
            description = await _ask(module)
        except AbiError as broken:
            problems = (str(broken),)
        except _GUEST_FAILED as failed:
            problems = (f"it fails when it is started and asked to describe itself: {failed}",)
    imports = tuple((name, type_, True) for name, type_ in module.imports.items())
    return Inspection(imports, module.exports, problems, description)


def _problems(exports: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(why for _, why in violations(exports))


async def _read(source: str | os.PathLike[str] | bytes | Source) -> Source:
    """Read a file once, so that all parts of the report are about the same bytes."""
    read = as_module_source(source)
    return await trio.to_thread.run_sync(Source.read, read, abandon_on_cancel=True)


def _inspect_unlinked(
    source: Source, environment: PluginEnvironment, failed: Exception
) -> Inspection:
    """Inspect a valid module that cannot be linked or run on this host."""
    seen = outline(source.binary)
    here = provide(environment.imports, seen, Wasi())
    imports = tuple(
        (f"{module}.{name}", type_, getattr(here.get((module, name)), "type", None) == type_)
        for module, name, type_ in seen.imports
    )
    missing = () if is_program(seen.exports) else _problems(seen.exports)
    problems = (*missing, str(failed))
    return Inspection(imports, seen.exports, problems, None)


async def _ask(module: Module) -> Description:
    revision = PluginRevision(module, None)
    instance = await module.instantiate()
    try:
        await revision.get_ready(instance)
    finally:
        await instance.aclose()
    return revision.description


# --- the report ---


def _imports_text(imports: tuple[tuple[str, object, bool], ...]) -> str:
    rows = [
        (name, f"{type_}  {'provided' if provided else 'NOT PROVIDED by this host'}")
        for name, type_, provided in imports
    ]
    return _table("Imports", rows)


def _exports_text(exports: Mapping[str, object]) -> str:
    wanted = {*REQUIRED, *OPTIONAL, "memory", *MALLOC, *FREE}
    rows = [
        (name, f"{type_}{'  (contract)' if name in wanted else ''}")
        for name, type_ in exports.items()
    ]
    return _table("Exports", rows)


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return f"{title}: none"
    width = max(len(name) for name, _ in rows)
    return "\n".join([title, *(_shown(f"  {name:{width}}  {text}") for name, text in rows)])


def _memory_text(exports: Mapping[str, object]) -> str:
    memory = exports.get("memory")
    if not isinstance(memory, MemoryType):
        return "Memory: none exported"
    limit = "no maximum of its own"
    if memory.maximum is not None:
        limit = f"at most {_mib(memory.maximum)}"
    return f"Memory: starts with {_mib(memory.minimum)}, {limit}"


def _mib(pages: int) -> str:
    return f"{pages * _PAGE / (1 << 20):,.1f} MiB"


def _metadata_text(metadata: Metadata) -> str:
    said = attrs.asdict(metadata, recurse=False)
    return _table("Metadata", [(key, _plain(value)) for key, value in said.items() if value])


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {text}" for key, text in value.items())
    return str(value)


def _shown(text: str) -> str:
    """Replace the characters that a terminal would read as commands."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _tools_text(tools: tuple[Tool, ...]) -> str:
    if not tools:
        return "Tools: none"
    lines: list[str] = []
    for tool in tools:
        lines.append(_shown(f"  {tool.name}  {tool.description}".rstrip()))
        lines += [
            _shown(f"      {name}{_type_text(tool, name)}: {description}")
            for name, description in tool.parameters.items()
        ]
    return "\n".join(["Tools", *lines])


def _type_text(tool: Tool, name: str) -> str:
    """Return `` (integer, required)`` for a parameter, or the part of it that is known."""
    types = tool.schemas.get(name, {}).get("type", ())
    words = [" or ".join([types] if isinstance(types, str) else types)]
    words += ["required"] if name in tool.required else []
    known = ", ".join(filter(None, words))
    return f" ({known})" if known else ""
