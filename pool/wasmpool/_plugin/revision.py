"""One revision of a plugin: its module, its credentials, and how it describes itself."""

from __future__ import annotations

import contextlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, final

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
    from collections.abc import Awaitable, Callable, Mapping

    from wasmpool_host import Instance, Module

__all__ = ["Description", "PluginRevision", "read_name", "start_runtime"]

_START: Final = "_rt0_wasm_wasip1"
_STARTS: Final = FunctionType((), ())


@attrs.frozen
class Description:
    """How a plugin described itself at load. It is answered from here, even if all are busy."""

    name: str
    metadata: Metadata
    tools: tuple[Tool, ...]
    compact_specs: Mapping[str, tuple[str, ...]]


@final
class PluginRevision:
    """A module and the credentials that each of its instances is configured with.

    The pool calls the instances of one revision a generation.

    Attributes:
        module: compiled; its exports fulfil the contract.
        credentials: a copy that nothing else can change; None if the guest is not configured.
        override: the name that the plugin was given; None for the plugin's own name.
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
        self._description: Description | None = None
        self._frozen: Module | None = None
        self._payload = None if credentials is None else encode(credentials)

    @property
    def instances_of(self) -> Module:
        """The module that the pool makes instances of: a snapshot, if `freeze` has made one."""
        return self._frozen or self.module

    @property
    def pool_setup(self) -> Callable[[Instance], Awaitable[None] | None] | None:
        """The setup of the pool's instances; None if they are ready from the start."""
        return self.setup if self._frozen is None else None

    async def freeze(self, start_timeout: float) -> None:
        """Make a snapshot of an instance that is ready to serve, for all instances to begin with.

        Args:
            start_timeout: seconds for its start and setup together.

        Raises:
            SnapshotError: of this module, or of what it does when it is configured, no snapshot can
                be made.
            AbiError, ConfigureError: as `get_ready`.
            Exception: as the guest ended; trio.TooSlowError.
        """
        self._frozen = await self.module.snapshot(
            self._get_ready_by_name, start_timeout=start_timeout
        )

    @property
    def is_known(self) -> bool:
        """True once an instance has been set up, so that there is a description."""
        return self._description is not None

    @property
    def description(self) -> Description:
        """What the first instance answered during its setup; no instance serves before that."""
        assert self._description is not None
        return self._description

    @property
    def name(self) -> str:
        """The name that the plugin was given, else the guest's own, else the module's."""
        if self.override is not None:
            return self.override
        own = "" if self._description is None else self._description.name
        return own or self.module.name

    @property
    def label(self) -> str:
        """The plugin in an error of its load, when the guest may be unable to tell its name."""
        return str(self.module) if self.override is None else f"plugin {self.override!r}"

    def setup(self, instance: Instance) -> Awaitable[None] | None:
        """Make a new instance of the pool ready to serve; None if there is nothing to do."""
        if self._description is None or self._payload is not None or needs_start(self.module):
            return self._get_ready_by_name(instance)
        return None

    async def _get_ready_by_name(self, instance: Instance) -> None:
        """`get_ready`, with the plugin's label in an `AbiError`."""
        try:
            await self.get_ready(instance)
        except AbiError as broken:
            message = f"{broken} ({self.label})"
            raise AbiError(message) from broken

    async def get_ready(self, instance: Instance) -> None:
        """Start an instance, configure it, and read the description if there is none yet."""
        # 1. The runtime, without which no other export can be called.
        await start_runtime(self.module, instance)
        # 2. The ABI version: it says how to read the other answers.
        known = self._description
        metadata = known.metadata if known is not None else await _read_metadata(instance)
        # 3. The credentials.
        if self._payload is not None:
            await self._configure(instance, self._payload, metadata)
        # 4. The description: after the credentials, on which the tools may depend.
        if self._description is None:
            self._description = await self._describe(instance, metadata)

    async def _configure(self, instance: Instance, payload: bytes, metadata: Metadata) -> None:
        refusal = await instance.exchange("configure", payload)
        if refusal:
            name = await self._ask_name(instance)
            raise ConfigureError(name, read_refusal(refusal, self._secrets(metadata)))

    def _secrets(self, metadata: Metadata) -> list[str]:
        """The values of the credentials, without those that the plugin calls plain text."""
        given = self.credentials or {}
        return [given[key] for key in given if key not in metadata.plain_text_keys]

    async def _ask_name(self, instance: Instance) -> str:
        """Return the plugin's name, also before there is a description."""
        if self.override is None and self._description is None:
            with contextlib.suppress(AbiError, CallTimeout, GuestExit, GuestMemoryError, GuestTrap):
                return await read_name(instance) or self.name
        return self.name

    async def _describe(self, instance: Instance, metadata: Metadata) -> Description:
        has_specs = "compact_specs" in self.module.exports
        return Description(
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
    """Return True if the guest has a runtime that the host has not started by ``_initialize``."""
    return module.exports.get(_START) == _STARTS and "_initialize" not in module.exports


async def start_runtime(module: Module, instance: Instance) -> None:
    """Start the guest's runtime, unless the host has already done so."""
    if needs_start(module):
        await instance.call(_START)


async def read_name(instance: Instance) -> str:
    """Ask a guest for its own name.

    Raises:
        AbiError: the answer is not text, or is too long.
    """
    return read_name_reply(await instance.exchange("name"))
