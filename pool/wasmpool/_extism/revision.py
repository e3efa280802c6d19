"""One revision of an Extism plugin: its manifest, its module, and how its instances start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

import attrs

from wasmpool_host import FunctionType, Limits, Wasi
from wasmpool_host.lowlevel import compile_extism

from .environment import ENV, Environment
from .manifest import MAX_VAR_BYTES, PAGE
from .requests import Requests
from .source import read_source

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from wasmpool._http.policy import HttpPolicy
    from wasmpool._plugin.options import PluginOptions
    from wasmpool_host import HostFunction, Instance, Module

    from .manifest import Manifest
    from .source import FrozenSource, ReadSource

__all__ = ["CALLABLE", "STARTS", "Given", "Revision", "load_revision"]

_HASKELL: Final = "hs_init"
STARTS: Final = frozenset({"_initialize", "__wasm_call_ctors", _HASKELL})
"""What starts a guest's runtime: not to be called by users."""
CALLABLE: Final = (FunctionType((), ("i32",)), FunctionType((), ()))
"""The types of exports that can be called with an input."""


@final
@attrs.frozen(kw_only=True)
class Given:
    """What the application gives to all revisions of a plugin."""

    name: str | None
    config: Mapping[str, str | None] = attrs.field(repr=False)
    functions: Sequence[HostFunction]
    options: PluginOptions

    @property
    def cache(self) -> str | os.PathLike[str] | None:
        """The directory for compiled code."""
        return self.options.get("cache")


@final
class Revision:
    """A compiled module with its manifest. The pool calls its instances a generation."""

    def __init__(
        self, read: ReadSource, module: Module, environment: Environment, name: str
    ) -> None:
        self.manifest: Manifest = read.manifest
        self.digests: tuple[str, ...] = (
            read.main.digest,
            *(each.digest for each in read.libraries.values()),
        )
        self.module = module
        self.environment = environment
        self.name = name
        self._frozen: Module | None = None

    @property
    def exports(self) -> tuple[str, ...]:
        """What can be called with an input."""
        exports = self.module.exports.items()
        return tuple(name for name, type_ in exports if type_ in CALLABLE and name not in STARTS)

    @property
    def instances_of(self) -> Module:
        """The module that the pool makes instances of: a snapshot, if `freeze` has made one."""
        return self._frozen or self.module

    @property
    def pool_setup(self) -> Callable[[Instance], Awaitable[Any]] | None:
        """The setup of the pool's instances; None if they are ready from the start."""
        return self._setup if self._frozen is None else None

    @property
    def _setup(self) -> Callable[[Instance], Awaitable[Any]] | None:
        return _start_haskell if _HASKELL in self.module.exports else None

    async def freeze(self, start_timeout: float) -> None:
        """Make a snapshot of an instance that is ready to serve, for all instances to begin with.

        Raises:
            SnapshotError: no snapshot can be made of it.
            Exception: as the guest ended; trio.TooSlowError.
        """
        self._frozen = await self.module.snapshot(self._setup, start_timeout=start_timeout)

    def is_like(self, other: Revision) -> bool:
        """Return True if it would serve as the other does."""
        return self.manifest == other.manifest and self.digests == other.digests


async def _start_haskell(instance: Instance) -> None:
    """Start Haskell's runtime, with no arguments: their count and their address are 0."""
    await instance.call(_HASKELL, 0, 0)


async def load_revision(source: FrozenSource, given: Given) -> Revision:
    """Read and compile a plugin.

    Raises:
        CompileError, LinkError, GuestMemoryError, OSError: as for `Module.compile`.
        DigestError: the module has another digest than its manifest says.
        ValueError: the manifest is not valid, or asks for what the application does not give.
    """
    read = await read_source(source, given.name)
    manifest = read.manifest
    options = given.options
    policy = _policy(options.get("http"), manifest)
    requests = Requests(policy, manifest.allowed_hosts)
    limits = _limits(options.get("limits", Limits()), manifest)
    _check_variables(manifest, limits)
    wasi = _wasi(options.get("wasi"), manifest)
    environment = Environment(
        _config(manifest.config, given.config), manifest.max_var_bytes, requests, lambda: "unknown"
    )
    module = await compile_extism(
        read.main,
        libraries=read.libraries,
        imports=(*environment.functions(), *given.functions),
        wasi=wasi,
        limits=limits,
        cache=given.cache,
        most_of_guest=None if manifest.max_pages is None else manifest.max_pages * PAGE,
    )
    name = given.name or manifest.wasm.name or module.name
    environment.name = lambda: name
    if f"{ENV}.http_request" in module.imports:
        await requests.import_client()
    return Revision(read, module, environment, name)


def _config(ours: Mapping[str, str], given: Mapping[str, str | None]) -> dict[str, str]:
    """The manifest's configuration, changed by the application's; None removes a value."""
    merged = {**ours, **given}
    return {key: value for key, value in merged.items() if value is not None}


def _limits(limits: Limits, manifest: Manifest) -> Limits:
    seconds = [s for s in (limits.call_seconds, manifest.timeout) if s is not None]
    return attrs.evolve(limits, call_seconds=min(seconds, default=None))


def _check_variables(manifest: Manifest, limits: Limits) -> None:
    """Refuse more variables than the guest may have memory: they are in the host's."""
    most = max(limits.memory, MAX_VAR_BYTES)
    if manifest.max_var_bytes > most:
        message = (
            f"the manifest's max_var_bytes is {manifest.max_var_bytes:,}, above"
            f" limits.memory={limits.memory:,}"
        )
        raise ValueError(message)


def _policy(policy: HttpPolicy | None, manifest: Manifest) -> HttpPolicy | None:
    most = manifest.max_http_response_bytes
    if policy is None or most is None:
        return policy
    return attrs.evolve(policy, max_response=min(most, policy.max_response))


def _wasi(wasi: Wasi | None, manifest: Manifest) -> Wasi | None:
    """What the guest gets of WASI: what the application gives, with the manifest's directories."""
    if not manifest.allowed_paths:
        return wasi
    if wasi is None:
        message = (
            "the manifest asks for directories by allowed_paths: open the plugin with wasi=Wasi()"
            " to allow them"
        )
        raise ValueError(message)
    from wasmpool_host import Preopen  # noqa: PLC0415 - few plugins use directories

    paths = {
        guest: Preopen(path.removeprefix("ro:"), writable=not path.startswith("ro:"))
        for path, guest in manifest.allowed_paths.items()
    }
    return attrs.evolve(wasi, preopens={**paths, **wasi.preopens})
