"""One generation of a plugin: its module with its credentials, and what it says of itself."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, final

import attrs

from wasmpool._json import encode
from wasmpool_host import CallTimeout, FunctionType, GuestExit, GuestMemoryError, GuestTrap

from .contract import check_abi_version
from .errors import AbiError, ConfigureError
from .metadata import (
    Metadata,
    Tool,
    read_compact_specs,
    read_metadata,
    read_name_reply,
    read_refusal,
    read_tools,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from wasmpool_host import Instance, Module

__all__ = ["Generation", "Snapshot", "copy_credentials", "read_name", "start_runtime"]

_START = "_rt0_wasm_wasip1"
_STARTS = FunctionType((), ())


@attrs.frozen
class Snapshot:
    """What a plugin said of itself when it was loaded; answered from here, however busy it is."""

    name: str
    metadata: Metadata
    tools: tuple[Tool, ...]
    compact_specs: Mapping[str, tuple[str, ...]]


@final
class Generation:
    """A module and the credentials that each of its instances is configured with.

    Attributes:
        module: compiled; its exports keep to the contract.
        credentials: a copy that nothing else has; None if the guest is not configured.
        override: the name that the plugin was given; None for its own.
    """

    def __init__(
        self,
        module: Module,
        credentials: Mapping[str, str] | None = None,
        override: str | None = None,
    ) -> None:
        self.module = module
        self.credentials = credentials
        self.override = override
        self._snapshot: Snapshot | None = None
        self._payload = None if credentials is None else encode(credentials)

    @property
    def is_known(self) -> bool:
        """Whether an instance was set up, and so there is a snapshot."""
        return self._snapshot is not None

    @property
    def snapshot(self) -> Snapshot:
        """What the first instance that was set up said; none serves before."""
        assert self._snapshot is not None
        return self._snapshot

    @property
    def name(self) -> str:
        """The name that the plugin was given, else the guest's own, else the module's."""
        if self.override is not None:
            return self.override
        own = "" if self._snapshot is None else self._snapshot.name
        return own or self.module.name

    @property
    def label(self) -> str:
        """The plugin in an error of its load, when the guest may not be able to say its name."""
        return str(self.module) if self.override is None else f"plugin {self.override!r}"

    def setup(self, instance: Instance) -> Awaitable[None] | None:
        """Make a new instance ready to serve, for the pool; None if nothing is to be done."""
        if self._snapshot is None or self._payload is not None or needs_start(self.module):
            return self._get_ready_by_name(instance)
        return None

    async def _get_ready_by_name(self, instance: Instance) -> None:
        """`get_ready`, whose errors do not know which of many plugins it was."""
        try:
            await self.get_ready(instance)
        except AbiError as broken:
            message = f"{broken} ({self.label})"
            raise AbiError(message) from broken

    async def get_ready(self, instance: Instance) -> None:
        """Start it, configure it, and ask it about itself.

        The version comes first, for what it says of the rest to be understood; the tools come
        after the credentials, which they may depend on. Once a first instance has said all that,
        others of the same module need not be asked.
        """
        await start_runtime(self.module, instance)
        known = self._snapshot
        metadata = known.metadata if known is not None else await _read_metadata(instance)
        if self._payload is not None:
            await self._configure(instance, self._payload)
        if self._snapshot is None:
            self._snapshot = await self._take_snapshot(instance, metadata)

    async def _configure(self, instance: Instance, payload: bytes) -> None:
        refusal = await instance.exchange("configure", payload)
        if refusal:
            name = await self._ask_name(instance)
            raise ConfigureError(name, read_refusal(refusal))

    async def _ask_name(self, instance: Instance) -> str:
        """Return its name, though nothing but its version may have been asked so far."""
        if self.override is None and self._snapshot is None:
            with contextlib.suppress(AbiError, CallTimeout, GuestExit, GuestMemoryError, GuestTrap):
                return await read_name(instance) or self.name
        return self.name

    async def _take_snapshot(self, instance: Instance, metadata: Metadata) -> Snapshot:
        has_specs = "compact_specs" in self.module.exports
        return Snapshot(
            name=await read_name(instance),
            metadata=metadata,
            tools=read_tools(await instance.exchange("tools")),
            compact_specs=MappingProxyType(
                read_compact_specs(await instance.exchange("compact_specs")) if has_specs else {}
            ),
        )


async def _read_metadata(instance: Instance) -> Metadata:
    metadata = read_metadata(await instance.exchange("metadata"))
    check_abi_version(metadata.abi_version)
    return metadata


def needs_start(module: Module) -> bool:
    """Whether it is a guest whose runtime the host has not started with ``_initialize``."""
    return module.exports.get(_START) == _STARTS and "_initialize" not in module.exports


async def start_runtime(module: Module, instance: Instance) -> None:
    """Start its runtime, if the host has not."""
    if needs_start(module):
        await instance.call(_START)


async def read_name(instance: Instance) -> str:
    """Ask a guest for its own name.

    Raises:
        AbiError: it is no text, or a long one.
    """
    return read_name_reply(await instance.exchange("name"))


def copy_credentials(credentials: object) -> Mapping[str, str] | None:
    """Copy credentials, which the caller may change, and refuse what a guest cannot be given.

    Raises:
        TypeError, ValueError: one that names the credential, and never shows its value.
    """
    if credentials is None:
        return None
    if not isinstance(credentials, Mapping):
        message = f"credentials must be a mapping of strings, not {type(credentials).__name__}"
        raise TypeError(message)
    copied = dict(credentials)
    for key, value in copied.items():
        if not isinstance(key, str):
            message = f"credentials: the name {key!r} must be a string, not {type(key).__name__}"
            raise TypeError(message)
        if not isinstance(value, str):
            given = type(value).__name__
            message = f"credentials: the value of {key!r} must be a string, not {given}"
            raise TypeError(message)
        if not (_is_unicode(key) and _is_unicode(value)):
            part = "value" if _is_unicode(key) else "name"
            message = f"credentials: the {part} of {key!r} has no form in UTF-8"
            raise ValueError(message)
    return copied


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
