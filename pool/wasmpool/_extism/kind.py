"""Extism plugins in a loader, as plugins whose tools are their exports."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, NoReturn, final

import trio

from wasmpool._errors import LeaseRevoked, PoolClosed
from wasmpool._plugin.errors import AbiError
from wasmpool._plugin.metadata import Metadata
from wasmpool._plugin.plugin import Plugin
from wasmpool._plugin.tool_result import CLOSED, ToolResult
from wasmpool_host import ExtismError

from .plugin import open_extism
from .recognise import is_extism, is_manifest
from .tools import as_text, input_of, tools_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from wasmpool._plugin.metadata import Tool
    from wasmpool._plugin.options import PluginOptions
    from wasmpool._plugin.source import PluginSource
    from wasmpool_host.lowlevel import Source

    from .plugin import ExtismPlugin

__all__ = ["ExtismKind"]


@final
class ExtismKind:
    """How a loader recognises and opens Extism plugins; a `PluginKind`.

    Credentials are the plugin's configuration.
    """

    def claims(self, source: Source, /) -> bool:
        """Return True for an Extism module, and for a manifest."""
        return is_extism(source)

    @contextlib.asynccontextmanager
    async def open(
        self,
        source: Source,
        /,
        name: str,
        credentials: Mapping[str, str] | None,
        options: PluginOptions,
    ) -> AsyncGenerator[Plugin, None]:
        """Open it for the length of the block.

        Raises:
            AbiError: the manifest is not valid, or it asks for what is not served.
            Exception: as `open_extism`.
        """
        options = {"http": None, **options}  # in a loader, no policy is no host
        async with contextlib.AsyncExitStack() as stack:
            try:
                plugin = await stack.enter_async_context(
                    open_extism(source, name=name, config=credentials, **options)
                )
            except ValueError as wrong:
                raise AbiError(f"plugin {name!r}: {wrong}") from wrong
            digest = None if is_manifest(source) else source.digest
            yield _Adapted(plugin, digest, credentials)


@final
class _Adapted(Plugin):
    """An Extism plugin as a `Plugin`."""

    # It has no part of `Plugin` that is about the contract, so `__init__` and all that uses such a
    # part is replaced.

    __slots__ = ("_digest", "_extism", "_given", "_metadata", "_tools")

    def __init__(
        self, extism: ExtismPlugin, digest: str | None, credentials: Mapping[str, str] | None
    ) -> None:
        self.pool = extism.pool
        self._registration = None
        self._extism: Final = extism
        self._digest: Final = digest
        self._given: Final = credentials
        self._metadata: Final = Metadata(name=extism.name, description="An Extism plugin.")
        self._tools: Final = tools_of(extism.name, extism.exports)

    @property
    def name(self) -> str:
        """The name that it is loaded by."""
        return self._extism.name

    @property
    def metadata(self) -> Metadata | None:
        """Its name, and that it is an Extism plugin; None after close."""
        return None if self.closed else self._metadata

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Its exports; none after close."""
        return () if self.closed else self._tools

    @property
    def compact_specs(self) -> Mapping[str, tuple[str, ...]]:
        """None of any tool."""
        return {}

    async def execute(self, tool: str, args: Mapping[str, Any] | None = None) -> ToolResult:
        """Call an export with the argument ``input``, or ``input_base64``."""
        try:
            data = input_of(args)
        except (TypeError, ValueError) as wrong:
            await trio.lowlevel.checkpoint()
            return ToolResult(f"the arguments cannot be an input: {wrong}", is_error=True)
        try:
            output = await self._extism.call(tool, data)
        except ExtismError as error:
            return ToolResult(error.text or str(error), is_error=True)
        except PoolClosed:
            return CLOSED
        except LeaseRevoked:
            if self.closed:
                return CLOSED
            raise
        return ToolResult(as_text(output))

    async def healthy(self) -> bool:
        """Return True until it is closed: Extism has no export that tells."""
        await trio.lowlevel.checkpoint()
        return not self.closed

    async def configure(self, credentials: Mapping[str, str] | None) -> int:
        """Refuse it."""
        del credentials
        self._refuse()

    async def reload(self, source: PluginSource) -> int:
        """Refuse it."""
        del source
        self._refuse()

    async def aclose(self, *, grace: float | None = None) -> None:
        """Close it, as any `Plugin`."""
        await self._extism.aclose(grace=grace)

    @property
    def _credentials(self) -> Mapping[str, str] | None:
        return self._given

    def _log_name(self) -> str:
        return self._extism.name

    def _runs(self, digest: str | None) -> bool:
        """Return True for its module; never of a manifest, whose module may have changed."""
        return digest is not None and digest == self._digest

    def _refuse(self) -> NoReturn:
        message = f"plugin {self.name!r} is Extism's: load it again, by its loader"
        raise RuntimeError(message)
