"""Plugins of another contract than this project's, which a loader can hold beside its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from wasmpool_host.lowlevel import Source

    from .options import PluginOptions
    from .plugin import Plugin

__all__ = ["PluginKind"]


class PluginKind(Protocol):
    """How a loader recognises plugins of a kind, and opens them.

    A plugin of another kind is never reloaded in place: a new one takes its place in one step.
    """

    def claims(self, source: Source, /) -> bool:
        """Return True if the file is a plugin of this kind."""
        ...

    def open(
        self,
        source: Source,
        /,
        name: str,
        credentials: Mapping[str, str] | None,
        options: PluginOptions,
    ) -> AbstractAsyncContextManager[Plugin]:
        """Open it for the length of the block, as `open_plugin` does.

        Raises:
            Exception: as `open_plugin`.
        """
        ...
