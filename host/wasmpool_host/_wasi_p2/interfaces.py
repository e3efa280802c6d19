"""The interfaces of preview 2, with their functions by the names that WIT gives them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from . import (
    cli,
    clocks,
    filesystem,
    http_body,
    http_fields,
    http_types,
    pollable,
    random_numbers,
    sockets,
    streams,
)
from .binding import Function
from .failure import Failure, IoError, broken_contract, check_class
from .resource import Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wasmpool_host._wasi.process import Process

__all__ = ["INTERFACES"]

_NONE, _CODE, _STREAM, _VALUE = Failure

Table = dict[str, Function]


_CLASSES: Final[Mapping[str, type[Resource]]] = {
    "error": IoError,
    "pollable": pollable.Pollable,
    "input-stream": streams.InputStream,
    "output-stream": streams.OutputStream,
    "descriptor": filesystem.Descriptor,
    "directory-entry-stream": filesystem.DirectoryEntryStream,
    "fields": http_fields.Fields,
    "outgoing-request": http_types.OutgoingRequest,
    "request-options": http_types.RequestOptions,
    "outgoing-body": http_body.OutgoingBody,
    "incoming-response": http_types.IncomingResponse,
    "incoming-body": http_body.IncomingBody,
    "future-trailers": http_body.FutureTrailers,
    "future-incoming-response": http_types.FutureIncomingResponse,
    "outgoing-response": http_types.OutgoingResponse,
}
"""The resources that components get handles of."""


def _method(name: str, kind: type[Resource]) -> Callable[..., Any]:
    attribute = name.replace("-", "_")

    def call(process: Process, resource: Resource, *args: Any) -> Any:
        check_class(resource, kind)
        resource.enter(process)
        for each in args:
            if isinstance(each, Resource):
                each.enter(process)
        return getattr(resource, attribute)(*args)

    return call


def _methods(resource: str, names: str, failure: Failure = _NONE) -> Table:
    """Methods of a resource that its class in Python has, too."""
    kind = _CLASSES[resource]
    return {
        f"[method]{resource}.{name}": Function(_method(name, kind), failure)
        for name in names.split()
    }


def _unreachable(resource: str, names: str) -> Table:
    """Methods of a resource that no component can have a handle of."""

    def call(_process: Process, *_args: Any) -> NoReturn:
        message = f"a {resource} was used, and there can be none"
        raise broken_contract(message)

    return {f"[method]{resource}.{name}": Function(call) for name in names.split()}


_STREAMS: Final = {
    **_methods("input-stream", "read blocking-read skip blocking-skip", _STREAM),
    **_methods("input-stream", "subscribe"),
    **_methods(
        "output-stream",
        "check-write write blocking-write-and-flush flush blocking-flush write-zeroes"
        " blocking-write-zeroes-and-flush splice blocking-splice",
        _STREAM,
    ),
    **_methods("output-stream", "subscribe"),
}

_FILESYSTEM: Final = {
    **_methods(
        "descriptor",
        "read-via-stream write-via-stream append-via-stream advise sync-data get-flags get-type"
        " set-size set-times read write read-directory sync create-directory-at stat stat-at"
        " set-times-at link-at open-at readlink-at remove-directory-at rename-at symlink-at"
        " unlink-file-at metadata-hash metadata-hash-at",
        _CODE,
    ),
    **_methods("descriptor", "is-same-object"),
    **_methods("directory-entry-stream", "read-directory-entry", _CODE),
    "filesystem-error-code": Function(filesystem.filesystem_error_code),
}

_TCP: Final = _unreachable(
    "tcp-socket",
    "start-bind finish-bind start-connect finish-connect start-listen finish-listen accept"
    " local-address remote-address is-listening address-family set-listen-backlog-size"
    " keep-alive-enabled set-keep-alive-enabled keep-alive-idle-time set-keep-alive-idle-time"
    " keep-alive-interval set-keep-alive-interval keep-alive-count set-keep-alive-count hop-limit"
    " set-hop-limit receive-buffer-size set-receive-buffer-size send-buffer-size"
    " set-send-buffer-size subscribe shutdown",
)

_UDP: Final = {
    **_unreachable(
        "udp-socket",
        "start-bind finish-bind stream local-address remote-address address-family"
        " unicast-hop-limit set-unicast-hop-limit receive-buffer-size set-receive-buffer-size"
        " send-buffer-size set-send-buffer-size subscribe",
    ),
    **_unreachable("incoming-datagram-stream", "receive subscribe"),
    **_unreachable("outgoing-datagram-stream", "check-send send subscribe"),
}

_HTTP: Final = {
    "http-error-code": Function(http_types.http_error_code),
    "[constructor]fields": Function(http_types.new_fields),
    "[static]fields.from-list": Function(http_types.fields_from_list, _VALUE),
    **_methods("fields", "get has entries clone"),
    **_methods("fields", "set delete append", _VALUE),
    "[constructor]outgoing-request": Function(http_types.new_request),
    **_methods("outgoing-request", "method path-with-query scheme authority headers"),
    **_methods(
        "outgoing-request",
        "body set-method set-path-with-query set-scheme set-authority",
        _VALUE,
    ),
    "[constructor]request-options": Function(http_types.new_options),
    **_methods("request-options", "connect-timeout first-byte-timeout between-bytes-timeout"),
    **_methods(
        "request-options",
        "set-connect-timeout set-first-byte-timeout set-between-bytes-timeout",
        _VALUE,
    ),
    **_methods("outgoing-body", "write", _VALUE),
    "[static]outgoing-body.finish": Function(http_types.finish_outgoing, _VALUE),
    **_methods("incoming-response", "status headers"),
    **_methods("incoming-response", "consume", _VALUE),
    **_methods("incoming-body", "stream", _VALUE),
    "[static]incoming-body.finish": Function(http_types.finish_incoming),
    **_methods("future-trailers", "subscribe get"),
    **_methods("future-incoming-response", "subscribe get"),
    # What is for components that answer requests: no function gives them one.
    **_unreachable("incoming-request", "method path-with-query scheme authority headers consume"),
    **_unreachable("response-outparam", "send-informational"),
    "[static]response-outparam.set": _unreachable("response-outparam", "set").popitem()[1],
    "[constructor]outgoing-response": Function(http_types.new_response),
    **_methods("outgoing-response", "status-code headers"),
    **_methods("outgoing-response", "set-status-code body", _VALUE),
}

INTERFACES: Final[Mapping[str, Mapping[str, Function]]] = MappingProxyType(
    {
        "wasi:io/error": _methods("error", "to-debug-string"),
        "wasi:io/poll": {
            **_methods("pollable", "ready block"),
            "poll": Function(pollable.poll),
        },
        "wasi:io/streams": _STREAMS,
        "wasi:clocks/monotonic-clock": {
            "now": Function(clocks.monotonic_now),
            "resolution": Function(clocks.monotonic_resolution),
            "subscribe-instant": Function(clocks.subscribe_instant),
            "subscribe-duration": Function(clocks.subscribe_duration),
        },
        "wasi:clocks/wall-clock": {
            "now": Function(clocks.wall_now),
            "resolution": Function(clocks.wall_resolution),
        },
        "wasi:random/random": {
            "get-random-bytes": Function(random_numbers.get_random_bytes),
            "get-random-u64": Function(random_numbers.get_random_u64),
        },
        "wasi:random/insecure": {
            "get-insecure-random-bytes": Function(random_numbers.get_random_bytes),
            "get-insecure-random-u64": Function(random_numbers.get_random_u64),
        },
        "wasi:random/insecure-seed": {"insecure-seed": Function(random_numbers.insecure_seed)},
        "wasi:cli/environment": {
            "get-environment": Function(cli.get_environment),
            "get-arguments": Function(cli.get_arguments),
            "initial-cwd": Function(cli.initial_cwd),
        },
        "wasi:cli/exit": {
            "exit": Function(cli.exit_program),
            "exit-with-code": Function(cli.exit_with_code),
        },
        "wasi:cli/stdin": {"get-stdin": Function(cli.get_stdin)},
        "wasi:cli/stdout": {"get-stdout": Function(cli.get_stdout)},
        "wasi:cli/stderr": {"get-stderr": Function(cli.get_stderr)},
        "wasi:cli/terminal-input": {},
        "wasi:cli/terminal-output": {},
        "wasi:cli/terminal-stdin": {"get-terminal-stdin": Function(cli.get_terminal_stdin)},
        "wasi:cli/terminal-stdout": {"get-terminal-stdout": Function(cli.get_terminal_stdout)},
        "wasi:cli/terminal-stderr": {"get-terminal-stderr": Function(cli.get_terminal_stderr)},
        "wasi:filesystem/types": _FILESYSTEM,
        "wasi:filesystem/preopens": {"get-directories": Function(filesystem.get_directories)},
        "wasi:sockets/network": {"network-error-code": Function(sockets.network_error_code)},
        "wasi:sockets/instance-network": {"instance-network": Function(sockets.instance_network)},
        "wasi:sockets/ip-name-lookup": {
            "resolve-addresses": Function(sockets.resolve_addresses, _VALUE),
            **_unreachable("resolve-address-stream", "resolve-next-address subscribe"),
        },
        "wasi:sockets/tcp": _TCP,
        "wasi:sockets/tcp-create-socket": {
            "create-tcp-socket": Function(sockets.create_socket, _VALUE)
        },
        "wasi:sockets/udp": _UDP,
        "wasi:sockets/udp-create-socket": {
            "create-udp-socket": Function(sockets.create_socket, _VALUE)
        },
        "wasi:http/types": _HTTP,
        "wasi:http/outgoing-handler": {"handle": Function(http_types.refuse, _VALUE)},
    }
)
"""Functions by interface and name, without the version."""
