"""The report of ``wasmpool inspect`` on an Extism plugin: its manifest, imports and exports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import attrs

from wasmpool._plugin.errors import AbiError
from wasmpool._plugin.options import PluginOptions
from wasmpool._plugin.report import exports_text, imports_text, memory_text, shown, table
from wasmpool_host import GuestMemoryError, LinkError, Wasi
from wasmpool_host.lowlevel import kernel_imports, outline, provide

from .environment import Environment
from .recognise import is_manifest
from .requests import Requests
from .revision import CALLABLE, STARTS, Given, load_revision
from .source import read_source
from .tools import tool_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmpool_host.lowlevel import Source

    from .manifest import Manifest
    from .source import ReadSource

__all__ = ["ExtismInspection", "inspect_extism"]

_COMMANDS: Final = """Contract: an Extism plugin
  wasmpool run FILE --tool EXPORT     calls an export for each line of an input
  wasmpool serve FILE                 serves its exports as tools"""


@final
@attrs.frozen
class ExtismInspection:
    """What an Extism plugin imports and exports; `str` is the report."""

    manifest: Manifest | None
    """None for a module without one."""
    imports: tuple[tuple[str, object, bool], ...]
    """For each: ``"module.name"``, its type, and True if this host provides it."""
    exports: Mapping[str, object]
    """Types by name."""
    tools: tuple[str, ...]
    """The exports that can be called."""
    problems: tuple[str, ...]
    """Why this host cannot run it without an application; empty if it can."""

    @property
    def meets_contract(self) -> bool:
        """True if this host can run it."""
        return not self.problems

    def __str__(self) -> str:
        parts = [] if self.manifest is None else [_manifest_text(self.manifest)]
        parts += [
            imports_text(self.imports),
            exports_text(self.exports, "tool", self.tools),
            memory_text(self.exports),
        ]
        return "\n\n".join([*parts, self._verdict()])

    def _verdict(self) -> str:
        if self.meets_contract:
            return _COMMANDS
        lines = (line for problem in self.problems for line in problem.splitlines())
        what = "Contract: an Extism plugin that this command cannot run"
        return "\n".join([what, *(f"  {shown(line)}" for line in lines)])


async def inspect_extism(source: Source) -> ExtismInspection:
    """Inspect an Extism plugin, without starting an instance.

    Args:
        source: a module or a manifest.

    Raises:
        CompileError: the module is not valid.
        ValueError: the manifest is not valid.
        DigestError: the module has another digest than its manifest says.
        OSError: the module of a manifest cannot be read.

    A cancel is as for `open_extism`.
    """
    read = await read_source(source, None)
    given = Given(name=None, config={}, functions=(), options=PluginOptions(http=None))
    problems: list[str] = []
    try:
        await load_revision(source, given)
    except (LinkError, GuestMemoryError, ValueError) as failed:
        problems.append(str(failed))
    seen = outline(read.main.binary)
    names = [name for name, type_ in seen.exports.items() if type_ in CALLABLE]
    tools: tuple[str, ...] = ()
    try:
        tools = tool_names([name for name in names if name not in STARTS])
    except AbiError as refused:
        problems.append(str(refused))
    return ExtismInspection(
        read.manifest if is_manifest(source) else None,
        _imports(read),
        seen.exports,
        tools,
        tuple(problems),
    )


def _imports(read: ReadSource) -> tuple[tuple[str, object, bool], ...]:
    """Return the imports of the main module, each with whether this host provides it."""
    seen = outline(read.main.binary)
    environment = Environment({}, 0, Requests(None, ()), lambda: "unknown")
    functions = provide(environment.functions(), seen, Wasi())
    here: dict[tuple[str, str], object] = {key: each.type for key, each in functions.items()}
    here.update(kernel_imports())
    for name, library in read.libraries.items():
        exports = outline(library.binary).exports
        here.update({(name, part): type_ for part, type_ in exports.items()})
    return tuple(
        (f"{name}.{part}", type_, here.get((name, part)) == type_)
        for name, part, type_ in seen.imports
    )


def _manifest_text(manifest: Manifest) -> str:
    """Return a table of what a manifest says; of its configuration only the names."""
    pages, reply = manifest.max_pages, manifest.max_http_response_bytes
    rows = {
        "module": manifest.wasm.path or "in the manifest",
        "config": ", ".join(manifest.config),
        "allowed_hosts": ", ".join(manifest.allowed_hosts),
        "allowed_paths": ", ".join(manifest.allowed_paths),
        "max_pages": "" if pages is None else f"{pages:,}",
        "max_http_response_bytes": "" if reply is None else f"{reply:,}",
        "timeout": "" if manifest.timeout is None else f"{manifest.timeout:g} s",
    }
    return table("Manifest", [(key, text) for key, text in rows.items() if text])
