"""What can go wrong with a plugin, besides what goes wrong with a pool or a guest."""

from __future__ import annotations

from wasmpool._errors import PluginError
from wasmpool_host import ModuleError
from wasmpool_host.lowlevel import escaped

__all__ = ["AbiError", "ConfigureError", "PluginClosed"]


class AbiError(ModuleError):
    """The module is no plugin of the contract.

    The first words name the export that is missing, of the wrong type, or that answered what the
    contract does not know; or the ABI version.
    """


class ConfigureError(PluginError):
    """The plugin refused its credentials; the message ends with its own words, escaped.

    Attributes:
        plugin: the plugin's name.
        text: the plugin's own words, not escaped; the first 4 KiB of them.
    """

    def __init__(self, plugin: str, text: str) -> None:
        super().__init__(plugin, text)
        self.plugin = plugin
        self.text = text

    def __str__(self) -> str:
        return f"plugin {self.plugin!r} refused its credentials: {escaped(self.text)}"


class PluginClosed(PluginError):
    """The plugin is closed, or was closed meanwhile; it cannot be configured or reloaded."""
