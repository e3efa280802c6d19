"""The environment of a plugin's guests: how they are compiled, and what they import."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, final

from wasmpool._http.host_function import Http
from wasmpool_host import Module, host_function
from wasmpool_host.lowlevel import escaped

from .source import as_module_source

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from wasmpool._http.policy import HttpPolicy
    from wasmpool_host import Caller, HostFunction, Limits, Wasi
    from wasmpool_host.lowlevel import Source

    from .source import PluginSource

__all__ = ["PluginEnvironment"]

_log: Final = logging.getLogger("wasmpool.plugin")
_LINE: Final = 8 * 1024  # bytes of one message: escaping takes at most 5 ms
_U32: Final = 0xFFFF_FFFF


@final
class PluginEnvironment:
    """Compiles the modules of one plugin, with its HTTP client and its name in the log.

    Attributes:
        imports: the functions that the guests may import from module ``env``.
        http: sends the guests' HTTP requests.
        name: returns the name that each log line of the guests begins with.
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
        """Compile a module, without a check of its exports.

        Raises:
            CompileError, LinkError, GuestMemoryError, OSError: as for `Module.compile`.
        """
        if isinstance(source, Module):
            return source
        return await Module.compile(
            as_module_source(source),
            imports=self.imports,
            wasi=self._wasi,
            limits=self._limits,
            cache=self._cache,
        )


def _imports(environment: PluginEnvironment) -> tuple[HostFunction, ...]:
    """Return the host functions of module ``env``."""

    @host_function("env", "host_log", params=("i32", "i32"))
    def host_log(caller: Caller, ptr: int, size: int) -> None:
        size &= _U32
        text = caller.memory.read(ptr & _U32, min(size, _LINE)).decode(errors="replace")
        rest = f" ... ({size:,} bytes)" if size > _LINE else ""
        # Each call logs exactly one line: a guest cannot forge a line of another plugin.
        owner, line = escaped(environment.name()), escaped(text.rstrip("\r\n"))
        _log.info("%s: %s%s", owner, line, rest, extra=caller.log_extra)

    @host_function("env", "host_http_request", params=("i64",), results=("i64",))
    async def host_http_request(caller: Caller, packed: int) -> int:
        return await caller.reply(await environment.http.answer(caller.read(packed)))

    return (host_log, host_http_request)
