"""What a plugin's guests have of their host: how they are compiled, and what they import."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

from wasmpool._http.host_function import Http
from wasmpool_host import Module, host_function
from wasmpool_host.lowlevel import escaped

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmpool._http.policy import HttpPolicy
    from wasmpool_host import Caller, HostFunction, Limits, Wasi
    from wasmpool_host.lowlevel import Source

__all__ = ["PluginHost", "PluginSource", "as_module_source"]

PluginSource: TypeAlias = str | os.PathLike[str] | bytes | Module
"""A file's path, the bytes of one, or a compiled module, which keeps the imports that it was
compiled with. A str with ``(module`` in it is a module's text."""

_log: Final = logging.getLogger("wasmpool.plugin")
_LINE: Final = 8 * 1024  # bytes of one message: at most 5 ms to escape
_U32: Final = 0xFFFF_FFFF


@final
class PluginHost:
    """Compiles one plugin's modules, bound to its HTTP client and to its name in the log.

    Attributes:
        imports: what its guests may import from module ``env``.
        http: makes its guests' requests.
        name: asked for what its guests' log lines begin with.
    """

    def __init__(
        self,
        policy: HttpPolicy | None,
        limits: Limits,
        wasi: Wasi | None,
        cache: str | os.PathLike[str] | None,
    ) -> None:
        self.http: Http = Http(policy, limits.payload)
        self.name: Callable[[], str] = lambda: "unknown"
        self._limits = limits
        self._wasi = wasi
        self._cache = cache
        self.imports: tuple[HostFunction, ...] = _imports(self)

    async def compile(self, source: PluginSource | Source) -> Module:
        """Compile a module; its exports are not held against the contract.

        Raises:
            CompileError, LinkError, GuestMemoryError, OSError: as for `Module.compile`.
        """
        if isinstance(source, Module):
            return source
        given: Any = as_module_source(source)  # Module.compile takes what was read as well
        return await Module.compile(
            given,
            imports=self.imports,
            wasi=self._wasi,
            limits=self._limits,
            cache=self._cache,
        )


def as_module_source(
    source: str | os.PathLike[str] | bytes | Source,
) -> os.PathLike[str] | bytes | str | Source:
    """A plugin's source as `Module.compile` takes it, where a str is always text."""
    if isinstance(source, str) and "(module" not in source:
        return Path(source)
    return source


def _imports(host: PluginHost) -> tuple[HostFunction, ...]:
    """What every plugin may import from module ``env``."""

    @host_function("env", "host_log", params=("i32", "i32"))
    def host_log(caller: Caller, ptr: int, size: int) -> None:
        size &= _U32
        text = caller.memory.read(ptr & _U32, min(size, _LINE)).decode(errors="replace")
        rest = f" ... ({size:,} bytes)" if size > _LINE else ""
        # One call is one line: a guest cannot make lines that look like another's.
        _log.info("%s: %s%s", escaped(host.name()), escaped(text.rstrip("\r\n")), rest)

    @host_function("env", "host_http_request", params=("i64",), results=("i64",))
    async def host_http_request(caller: Caller, packed: int) -> int:
        return await caller.reply(await host.http.answer(caller.read(packed)))

    return (host_log, host_http_request)
