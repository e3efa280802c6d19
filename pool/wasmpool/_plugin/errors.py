"""The errors of plugins; those of pools are in `wasmpool._errors`."""

from __future__ import annotations

from wasmpool._errors import PluginError
from wasmpool_host import ModuleError
from wasmpool_host.lowlevel import escaped

__all__ = ["AbiError", "ConfigureError", "DigestError", "PluginClosed"]


class AbiError(ModuleError):
    """The module does not fulfil the contract of plugins.

    The message begins with the export that is missing, of the wrong type, or that gave an invalid
    answer; or it names the ABI version.
    """


class DigestError(ModuleError):
    """The plugin's module is another one than the host asked for.

    Attributes:
        found, wanted: SHA-256 digests in hexadecimal.
    """

    def __init__(self, plugin: str, file: str, found: str, wanted: str) -> None:
        super().__init__(plugin, file, found, wanted)
        self.found = found
        self.wanted = wanted

    def __str__(self) -> str:
        plugin, file, _, _ = self.args
        return (
            f"plugin {plugin!r}{file} has the SHA-256 {self.found}, and not {self.wanted}, which is"
            " asked for: it is another file"
        )


class ConfigureError(PluginError):
    """The plugin refused its credentials; the message ends with its reason, escaped.

    Where the reason repeats a credential, it has ``***`` instead, unless the plugin's metadata has
    it in ``plain_text_keys``.

    Attributes:
        plugin: the plugin's name.
        text: the plugin's reason, not escaped; at most its first 4 KiB.
    """

    def __init__(self, plugin: str, text: str) -> None:
        super().__init__(plugin, text)
        self.plugin = plugin
        self.text = text

    def __str__(self) -> str:
        return f"plugin {self.plugin!r} refused its credentials: {escaped(self.text)}"


class PluginClosed(PluginError):
    """The plugin cannot be configured or reloaded: it is closed, or was closed during the call."""
