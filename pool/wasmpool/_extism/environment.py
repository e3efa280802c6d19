"""What an Extism plugin imports of its host: configuration, variables, the log, HTTP.

The contract is Extism's ``runtime/src/pdk.rs``, version 1.12. A handle that a guest gives is freed,
as there. What Extism answers with an error ends the call here as well: by `ExtismError`, or by
`GuestMemoryError` where a handle is none. That stops the guest, so its instance is replaced.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Final, NoReturn, final

from wasmpool_host import ExtismError, host_function
from wasmpool_host.lowlevel import KernelAccess, escaped

from .recognise import ENV
from .requests import MOST_OF_A_REQUEST, Refused
from .variables import StoreIsFull, Variables

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from wasmpool_host import Caller, HostFunction

    from .requests import Requests

__all__ = ["ENV", "Environment"]

_log: Final = logging.getLogger("wasmpool.extism")

_LEVELS: Final = {
    "trace": 5,  # below DEBUG: logging has no name for it
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
"""In the order of the numbers that `get_log_level` returns."""
_OFF: Final = 0x7FFF_FFFF
_LINE: Final = 8 << 10
"""Bytes of one message: escaping takes at most 5 ms."""
_NAME: Final = 64 << 10
"""Bytes of the name of a variable or of a configuration value."""
_VARIABLES: Final = "extism variables"
_REPLY: Final = "extism reply"


@final
class _LastReply:
    """What an instance keeps of its last HTTP reply, for the call that sent the request."""

    __slots__ = ("call", "headers", "status")

    def __init__(self, call: int, status: int, headers: Mapping[str, str]) -> None:
        self.call = call
        self.status = status
        self.headers = headers


@final
class Environment:
    """The host functions of one plugin.

    Attributes:
        name: returns the name that each log line of the guests begins with.
    """

    def __init__(
        self,
        config: Mapping[str, str],
        max_var_bytes: int,
        requests: Requests,
        name: Callable[[], str],
    ) -> None:
        self.name = name
        self.requests = requests
        self._config = {key.encode(): value.encode() for key, value in config.items()}
        self._max_var_bytes = max_var_bytes

    def functions(self) -> tuple[HostFunction, ...]:
        """Make those of module ``extism:host/env`` that are not the kernel's.

        They refer to this, so it does not keep them: a revision that is replaced is free at once.
        """
        return (*self._settings(), *self._http(), *self._logs())

    # --- configuration and variables ---

    def _settings(self) -> tuple[HostFunction, ...]:
        @host_function(ENV, "config_get", params=("i64",), results=("i64",))
        def config_get(caller: Caller, name: int) -> int | Awaitable[int]:
            kernel = KernelAccess(caller)
            key = kernel.read(f"{ENV}.config_get", name, _NAME)
            return kernel.give(self._config.get(key, b""), name)

        @host_function(ENV, "var_get", params=("i64",), results=("i64",))
        def var_get(caller: Caller, name: int) -> int | Awaitable[int]:
            kernel = KernelAccess(caller)
            key = self._name("var_get", kernel, name)
            variables: Variables | None = caller.state.get(_VARIABLES)
            value = None if variables is None else variables.get(key)
            return kernel.give(value or b"", name)

        @host_function(ENV, "var_set", params=("i64", "i64"))
        def var_set(caller: Caller, name: int, value: int) -> None:
            if not self._max_var_bytes:
                self._refuse("var_set", "Vars are disabled by this host")
            kernel = KernelAccess(caller)
            self._set(caller, kernel, self._name("var_set", kernel, name), value)
            kernel.free(name, value)

        return config_get, var_get, var_set

    def _set(self, caller: Caller, kernel: KernelAccess, key: str, value: int) -> None:
        variables = self._variables(caller)
        if not value:
            variables.remove(key)
            return
        try:
            variables.check_room(key, kernel.length(value))
        except StoreIsFull:
            self._refuse("var_set", "Variable store is full")
        variables.set(key, kernel.read(f"{ENV}.var_set", value, self._max_var_bytes))

    def _variables(self, caller: Caller) -> Variables:
        found: Variables | None = caller.state.get(_VARIABLES)
        if found is None:
            found = caller.state[_VARIABLES] = Variables(self._max_var_bytes)
        return found

    def _name(self, function: str, kernel: KernelAccess, offset: int) -> str:
        name = kernel.read(f"{ENV}.{function}", offset, _NAME)
        try:
            return name.decode()
        except UnicodeDecodeError as wrong:
            self._refuse(function, f"the name is no UTF-8: {wrong}")

    # --- HTTP ---

    def _http(self) -> tuple[HostFunction, ...]:
        @host_function(ENV, "http_request", params=("i64", "i64"), results=("i64",))
        async def http_request(caller: Caller, request: int, body: int) -> int:
            kernel = KernelAccess(caller)
            given = kernel.read(f"{ENV}.http_request", request, MOST_OF_A_REQUEST)
            content = kernel.read(f"{ENV}.http_request", body, kernel.largest)
            caller.state.pop(_REPLY, None)
            try:
                reply = await self.requests.send(given, content)
            except Refused as why:
                raise self._refused("http_request", str(why)) from why
            headers = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in reply.headers
                if value.isascii()
            }
            caller.state[_REPLY] = _LastReply(kernel.call_number, reply.status, headers)
            offset = kernel.give(reply.body, request, body)
            return offset if isinstance(offset, int) else await offset

        @host_function(ENV, "http_status_code", results=("i32",))
        def http_status_code(caller: Caller) -> int:
            reply = _last_reply(caller)
            return 0 if reply is None else reply.status

        @host_function(ENV, "http_headers", results=("i64",))
        def http_headers(caller: Caller) -> int | Awaitable[int]:
            reply = _last_reply(caller)
            headers = {} if reply is None else reply.headers
            text = json.dumps(headers, sort_keys=True, separators=(",", ":"))  # as Extism writes it
            return KernelAccess(caller).give(text.encode())

        return http_request, http_status_code, http_headers

    # --- the log ---

    def _logs(self) -> tuple[HostFunction, ...]:
        @host_function(ENV, "get_log_level", results=("i32",))
        def get_log_level(_: Caller) -> int:
            enabled = _log.getEffectiveLevel()
            fitting = (k for k, level in enumerate(_LEVELS.values()) if level >= enabled)
            return next(fitting, _OFF)

        return (get_log_level, *(self._logger(name, level) for name, level in _LEVELS.items()))

    def _logger(self, name: str, level: int) -> HostFunction:
        owner = f"{ENV}.log_{name}"

        @host_function(ENV, f"log_{name}", params=("i64",))
        def log(caller: Caller, message: int) -> None:
            kernel = KernelAccess(caller)
            if _log.isEnabledFor(level):
                start, length = kernel.read_start(owner, message, _LINE)
                rest = f" ... ({length:,} bytes)" if length > _LINE else ""
                line = escaped(start.decode(errors="replace").rstrip("\r\n"))
                plugin = escaped(self.name())
                _log.log(level, "%s: %s%s", plugin, line, rest, extra=caller.log_extra)
            kernel.free(message)

        return log

    # --- refusals ---

    def _refuse(self, function: str, why: str) -> NoReturn:
        raise self._refused(function, why)

    def _refused(self, function: str, why: str) -> ExtismError:
        return ExtismError(f"plugin {self.name()!r}, {function}", why)


def _last_reply(caller: Caller) -> _LastReply | None:
    """Return the last reply of this call, not of one before."""
    reply: _LastReply | None = caller.state.get(_REPLY)
    current = KernelAccess(caller).call_number
    return reply if reply is not None and reply.call == current else None
