"""The types of WASI's functions, in the notation of WIT, without the names of the parameters."""

from __future__ import annotations

import re
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmpool_host._wit import WitFunction

__all__ = ["text_of", "type_texts"]

_NAMED: Final = """
$advice = enum { normal, sequential, random, will-need, dont-need, no-reuse }
$datetime = record { seconds: u64, nanoseconds: u32 }
$descriptor-flags = flags { read, write, file-integrity-sync, data-integrity-sync,
        requested-write-sync, mutate-directory }
$descriptor-stat = record { type: $descriptor-type, link-count: u64, size: u64,
        data-access-timestamp: option<$datetime>, data-modification-timestamp: option<$datetime>,
        status-change-timestamp: option<$datetime> }
$descriptor-type = enum { unknown, block-device, character-device, directory, fifo, symbolic-link,
        regular-file, socket }
$error-code = enum { access, would-block, already, bad-descriptor, busy, deadlock, quota, exist,
        file-too-large, illegal-byte-sequence, in-progress, interrupted, invalid, io,
        is-directory, loop, too-many-links, message-size, name-too-long, no-device, no-entry,
        no-lock, insufficient-memory, insufficient-space, not-directory, not-empty,
        not-recoverable, unsupported, no-tty, no-such-device, overflow, not-permitted, pipe,
        read-only, invalid-seek, text-file-busy, cross-device }
$header-error = variant { invalid-syntax, forbidden, immutable }
$http-error = variant { DNS-timeout, DNS-error(record { rcode: option<string>, info-code:
        option<u16> }), destination-not-found, destination-unavailable, destination-IP-prohibited,
        destination-IP-unroutable, connection-refused, connection-terminated, connection-timeout,
        connection-read-timeout, connection-write-timeout, connection-limit-reached,
        TLS-protocol-error, TLS-certificate-error, TLS-alert-received(record { alert-id:
        option<u8>, alert-message: option<string> }), HTTP-request-denied,
        HTTP-request-length-required, HTTP-request-body-size(option<u64>),
        HTTP-request-method-invalid, HTTP-request-URI-invalid, HTTP-request-URI-too-long,
        HTTP-request-header-section-size(option<u32>), HTTP-request-header-size(option<record {
        field-name: option<string>, field-size: option<u32> }>),
        HTTP-request-trailer-section-size(option<u32>), HTTP-request-trailer-size(record {
        field-name: option<string>, field-size: option<u32> }), HTTP-response-incomplete,
        HTTP-response-header-section-size(option<u32>), HTTP-response-header-size(record {
        field-name: option<string>, field-size: option<u32> }),
        HTTP-response-body-size(option<u64>), HTTP-response-trailer-section-size(option<u32>),
        HTTP-response-trailer-size(record { field-name: option<string>, field-size: option<u32>
        }), HTTP-response-transfer-coding(option<string>),
        HTTP-response-content-coding(option<string>), HTTP-response-timeout, HTTP-upgrade-failed,
        HTTP-protocol-error, loop-detected, configuration-error, internal-error(option<string>) }
$ip-address = variant { ipv4(tuple<u8, u8, u8, u8>), ipv6(tuple<u16, u16, u16, u16, u16, u16, u16,
        u16>) }
$ip-address-family = enum { ipv4, ipv6 }
$ip-socket-address = variant { ipv4(record { port: u16, address: tuple<u8, u8, u8, u8> }),
        ipv6(record { port: u16, flow-info: u32, address: tuple<u16, u16, u16, u16, u16, u16, u16,
        u16>, scope-id: u32 }) }
$metadata-hash = record { lower: u64, upper: u64 }
$method = variant { get, head, post, put, delete, connect, options, trace, patch, other(string) }
$network-error = enum { unknown, access-denied, not-supported, invalid-argument, out-of-memory,
        timeout, concurrency-conflict, not-in-progress, would-block, invalid-state,
        new-socket-limit, address-not-bindable, address-in-use, remote-unreachable,
        connection-refused, connection-reset, connection-aborted, datagram-too-large,
        name-unresolvable, temporary-resolver-failure, permanent-resolver-failure }
$new-timestamp = variant { no-change, now, timestamp($datetime) }
$open-flags = flags { create, directory, exclusive, truncate }
$path-flags = flags { symlink-follow }
$scheme = variant { HTTP, HTTPS, other(string) }
$shutdown-type = enum { receive, send, both }
$stream-error = variant { last-operation-failed(own<error>), closed }
"""
"""Types that many functions have. A line that is indented goes on with the one before."""

_FUNCTIONS: Final = """
wasi:io/error
  [method]error.to-debug-string (borrow<error>) -> string
wasi:io/poll
  [method]pollable.ready (borrow<pollable>) -> bool
  [method]pollable.block (borrow<pollable>)
  poll (list<borrow<pollable>>) -> list<u32>
wasi:io/streams
  [method]input-stream.read (borrow<input-stream>, u64) -> result<list<u8>, $stream-error>
  [method]input-stream.blocking-read (borrow<input-stream>, u64) -> result<list<u8>,
        $stream-error>
  [method]input-stream.skip (borrow<input-stream>, u64) -> result<u64, $stream-error>
  [method]input-stream.blocking-skip (borrow<input-stream>, u64) -> result<u64, $stream-error>
  [method]input-stream.subscribe (borrow<input-stream>) -> own<pollable>
  [method]output-stream.check-write (borrow<output-stream>) -> result<u64, $stream-error>
  [method]output-stream.write (borrow<output-stream>, list<u8>) -> result<_, $stream-error>
  [method]output-stream.blocking-write-and-flush (borrow<output-stream>, list<u8>) -> result<_,
        $stream-error>
  [method]output-stream.flush (borrow<output-stream>) -> result<_, $stream-error>
  [method]output-stream.blocking-flush (borrow<output-stream>) -> result<_, $stream-error>
  [method]output-stream.subscribe (borrow<output-stream>) -> own<pollable>
  [method]output-stream.write-zeroes (borrow<output-stream>, u64) -> result<_, $stream-error>
  [method]output-stream.blocking-write-zeroes-and-flush (borrow<output-stream>, u64) -> result<_,
        $stream-error>
  [method]output-stream.splice (borrow<output-stream>, borrow<input-stream>, u64) -> result<u64,
        $stream-error>
  [method]output-stream.blocking-splice (borrow<output-stream>, borrow<input-stream>, u64) ->
        result<u64, $stream-error>
wasi:clocks/monotonic-clock
  now () -> u64
  resolution () -> u64
  subscribe-instant (u64) -> own<pollable>
  subscribe-duration (u64) -> own<pollable>
wasi:clocks/wall-clock
  now () -> $datetime
  resolution () -> $datetime
wasi:random/random
  get-random-bytes (u64) -> list<u8>
  get-random-u64 () -> u64
wasi:random/insecure
  get-insecure-random-bytes (u64) -> list<u8>
  get-insecure-random-u64 () -> u64
wasi:random/insecure-seed
  insecure-seed () -> tuple<u64, u64>
wasi:cli/environment
  get-environment () -> list<tuple<string, string>>
  get-arguments () -> list<string>
  initial-cwd () -> option<string>
wasi:cli/exit
  exit (result)
  exit-with-code (u8)
wasi:cli/stdin
  get-stdin () -> own<input-stream>
wasi:cli/stdout
  get-stdout () -> own<output-stream>
wasi:cli/stderr
  get-stderr () -> own<output-stream>
wasi:cli/terminal-stdin
  get-terminal-stdin () -> option<own<terminal-input>>
wasi:cli/terminal-stdout
  get-terminal-stdout () -> option<own<terminal-output>>
wasi:cli/terminal-stderr
  get-terminal-stderr () -> option<own<terminal-output>>
wasi:filesystem/types
  [method]descriptor.read-via-stream (borrow<descriptor>, u64) -> result<own<input-stream>,
        $error-code>
  [method]descriptor.write-via-stream (borrow<descriptor>, u64) -> result<own<output-stream>,
        $error-code>
  [method]descriptor.append-via-stream (borrow<descriptor>) -> result<own<output-stream>,
        $error-code>
  [method]descriptor.advise (borrow<descriptor>, u64, u64, $advice) -> result<_, $error-code>
  [method]descriptor.sync-data (borrow<descriptor>) -> result<_, $error-code>
  [method]descriptor.get-flags (borrow<descriptor>) -> result<$descriptor-flags, $error-code>
  [method]descriptor.get-type (borrow<descriptor>) -> result<$descriptor-type, $error-code>
  [method]descriptor.set-size (borrow<descriptor>, u64) -> result<_, $error-code>
  [method]descriptor.set-times (borrow<descriptor>, $new-timestamp, $new-timestamp) -> result<_,
        $error-code>
  [method]descriptor.read (borrow<descriptor>, u64, u64) -> result<tuple<list<u8>, bool>,
        $error-code>
  [method]descriptor.write (borrow<descriptor>, list<u8>, u64) -> result<u64, $error-code>
  [method]descriptor.read-directory (borrow<descriptor>) -> result<own<directory-entry-stream>,
        $error-code>
  [method]descriptor.sync (borrow<descriptor>) -> result<_, $error-code>
  [method]descriptor.create-directory-at (borrow<descriptor>, string) -> result<_, $error-code>
  [method]descriptor.stat (borrow<descriptor>) -> result<$descriptor-stat, $error-code>
  [method]descriptor.stat-at (borrow<descriptor>, $path-flags, string) -> result<$descriptor-stat,
        $error-code>
  [method]descriptor.set-times-at (borrow<descriptor>, $path-flags, string, $new-timestamp,
        $new-timestamp) -> result<_, $error-code>
  [method]descriptor.link-at (borrow<descriptor>, $path-flags, string, borrow<descriptor>, string)
        -> result<_, $error-code>
  [method]descriptor.open-at (borrow<descriptor>, $path-flags, string, $open-flags,
        $descriptor-flags) -> result<own<descriptor>, $error-code>
  [method]descriptor.readlink-at (borrow<descriptor>, string) -> result<string, $error-code>
  [method]descriptor.remove-directory-at (borrow<descriptor>, string) -> result<_, $error-code>
  [method]descriptor.rename-at (borrow<descriptor>, string, borrow<descriptor>, string) ->
        result<_, $error-code>
  [method]descriptor.symlink-at (borrow<descriptor>, string, string) -> result<_, $error-code>
  [method]descriptor.unlink-file-at (borrow<descriptor>, string) -> result<_, $error-code>
  [method]descriptor.is-same-object (borrow<descriptor>, borrow<descriptor>) -> bool
  [method]descriptor.metadata-hash (borrow<descriptor>) -> result<$metadata-hash, $error-code>
  [method]descriptor.metadata-hash-at (borrow<descriptor>, $path-flags, string) ->
        result<$metadata-hash, $error-code>
  [method]directory-entry-stream.read-directory-entry (borrow<directory-entry-stream>) ->
        result<option<record { type: $descriptor-type, name: string }>, $error-code>
  filesystem-error-code (borrow<error>) -> option<$error-code>
wasi:filesystem/preopens
  get-directories () -> list<tuple<own<descriptor>, string>>
wasi:sockets/network
  network-error-code (borrow<error>) -> option<$network-error>
wasi:sockets/instance-network
  instance-network () -> own<network>
wasi:sockets/ip-name-lookup
  [method]resolve-address-stream.resolve-next-address (borrow<resolve-address-stream>) ->
        result<option<$ip-address>, $network-error>
  [method]resolve-address-stream.subscribe (borrow<resolve-address-stream>) -> own<pollable>
  resolve-addresses (borrow<network>, string) -> result<own<resolve-address-stream>,
        $network-error>
wasi:sockets/tcp
  [method]tcp-socket.start-bind (borrow<tcp-socket>, borrow<network>, $ip-socket-address) ->
        result<_, $network-error>
  [method]tcp-socket.finish-bind (borrow<tcp-socket>) -> result<_, $network-error>
  [method]tcp-socket.start-connect (borrow<tcp-socket>, borrow<network>, $ip-socket-address) ->
        result<_, $network-error>
  [method]tcp-socket.finish-connect (borrow<tcp-socket>) -> result<tuple<own<input-stream>,
        own<output-stream>>, $network-error>
  [method]tcp-socket.start-listen (borrow<tcp-socket>) -> result<_, $network-error>
  [method]tcp-socket.finish-listen (borrow<tcp-socket>) -> result<_, $network-error>
  [method]tcp-socket.accept (borrow<tcp-socket>) -> result<tuple<own<tcp-socket>,
        own<input-stream>, own<output-stream>>, $network-error>
  [method]tcp-socket.local-address (borrow<tcp-socket>) -> result<$ip-socket-address,
        $network-error>
  [method]tcp-socket.remote-address (borrow<tcp-socket>) -> result<$ip-socket-address,
        $network-error>
  [method]tcp-socket.is-listening (borrow<tcp-socket>) -> bool
  [method]tcp-socket.address-family (borrow<tcp-socket>) -> $ip-address-family
  [method]tcp-socket.set-listen-backlog-size (borrow<tcp-socket>, u64) -> result<_,
        $network-error>
  [method]tcp-socket.keep-alive-enabled (borrow<tcp-socket>) -> result<bool, $network-error>
  [method]tcp-socket.set-keep-alive-enabled (borrow<tcp-socket>, bool) -> result<_,
        $network-error>
  [method]tcp-socket.keep-alive-idle-time (borrow<tcp-socket>) -> result<u64, $network-error>
  [method]tcp-socket.set-keep-alive-idle-time (borrow<tcp-socket>, u64) -> result<_,
        $network-error>
  [method]tcp-socket.keep-alive-interval (borrow<tcp-socket>) -> result<u64, $network-error>
  [method]tcp-socket.set-keep-alive-interval (borrow<tcp-socket>, u64) -> result<_,
        $network-error>
  [method]tcp-socket.keep-alive-count (borrow<tcp-socket>) -> result<u32, $network-error>
  [method]tcp-socket.set-keep-alive-count (borrow<tcp-socket>, u32) -> result<_, $network-error>
  [method]tcp-socket.hop-limit (borrow<tcp-socket>) -> result<u8, $network-error>
  [method]tcp-socket.set-hop-limit (borrow<tcp-socket>, u8) -> result<_, $network-error>
  [method]tcp-socket.receive-buffer-size (borrow<tcp-socket>) -> result<u64, $network-error>
  [method]tcp-socket.set-receive-buffer-size (borrow<tcp-socket>, u64) -> result<_,
        $network-error>
  [method]tcp-socket.send-buffer-size (borrow<tcp-socket>) -> result<u64, $network-error>
  [method]tcp-socket.set-send-buffer-size (borrow<tcp-socket>, u64) -> result<_, $network-error>
  [method]tcp-socket.subscribe (borrow<tcp-socket>) -> own<pollable>
  [method]tcp-socket.shutdown (borrow<tcp-socket>, $shutdown-type) -> result<_, $network-error>
wasi:sockets/tcp-create-socket
  create-tcp-socket ($ip-address-family) -> result<own<tcp-socket>, $network-error>
wasi:sockets/udp
  [method]udp-socket.start-bind (borrow<udp-socket>, borrow<network>, $ip-socket-address) ->
        result<_, $network-error>
  [method]udp-socket.finish-bind (borrow<udp-socket>) -> result<_, $network-error>
  [method]udp-socket.stream (borrow<udp-socket>, option<$ip-socket-address>) ->
        result<tuple<own<incoming-datagram-stream>, own<outgoing-datagram-stream>>,
        $network-error>
  [method]udp-socket.local-address (borrow<udp-socket>) -> result<$ip-socket-address,
        $network-error>
  [method]udp-socket.remote-address (borrow<udp-socket>) -> result<$ip-socket-address,
        $network-error>
  [method]udp-socket.address-family (borrow<udp-socket>) -> $ip-address-family
  [method]udp-socket.unicast-hop-limit (borrow<udp-socket>) -> result<u8, $network-error>
  [method]udp-socket.set-unicast-hop-limit (borrow<udp-socket>, u8) -> result<_, $network-error>
  [method]udp-socket.receive-buffer-size (borrow<udp-socket>) -> result<u64, $network-error>
  [method]udp-socket.set-receive-buffer-size (borrow<udp-socket>, u64) -> result<_,
        $network-error>
  [method]udp-socket.send-buffer-size (borrow<udp-socket>) -> result<u64, $network-error>
  [method]udp-socket.set-send-buffer-size (borrow<udp-socket>, u64) -> result<_, $network-error>
  [method]udp-socket.subscribe (borrow<udp-socket>) -> own<pollable>
  [method]incoming-datagram-stream.receive (borrow<incoming-datagram-stream>, u64) ->
        result<list<record { data: list<u8>, remote-address: $ip-socket-address }>,
        $network-error>
  [method]incoming-datagram-stream.subscribe (borrow<incoming-datagram-stream>) -> own<pollable>
  [method]outgoing-datagram-stream.check-send (borrow<outgoing-datagram-stream>) -> result<u64,
        $network-error>
  [method]outgoing-datagram-stream.send (borrow<outgoing-datagram-stream>, list<record { data:
        list<u8>, remote-address: option<$ip-socket-address> }>) -> result<u64, $network-error>
  [method]outgoing-datagram-stream.subscribe (borrow<outgoing-datagram-stream>) -> own<pollable>
wasi:sockets/udp-create-socket
  create-udp-socket ($ip-address-family) -> result<own<udp-socket>, $network-error>
wasi:http/types
  [constructor]fields () -> own<fields>
  [static]fields.from-list (list<tuple<string, list<u8>>>) -> result<own<fields>, $header-error>
  [method]fields.get (borrow<fields>, string) -> list<list<u8>>
  [method]fields.has (borrow<fields>, string) -> bool
  [method]fields.set (borrow<fields>, string, list<list<u8>>) -> result<_, $header-error>
  [method]fields.delete (borrow<fields>, string) -> result<_, $header-error>
  [method]fields.append (borrow<fields>, string, list<u8>) -> result<_, $header-error>
  [method]fields.entries (borrow<fields>) -> list<tuple<string, list<u8>>>
  [method]fields.clone (borrow<fields>) -> own<fields>
  [method]incoming-request.method (borrow<incoming-request>) -> $method
  [method]incoming-request.path-with-query (borrow<incoming-request>) -> option<string>
  [method]incoming-request.scheme (borrow<incoming-request>) -> option<$scheme>
  [method]incoming-request.authority (borrow<incoming-request>) -> option<string>
  [method]incoming-request.headers (borrow<incoming-request>) -> own<fields>
  [method]incoming-request.consume (borrow<incoming-request>) -> result<own<incoming-body>>
  [constructor]outgoing-request (own<fields>) -> own<outgoing-request>
  [method]outgoing-request.body (borrow<outgoing-request>) -> result<own<outgoing-body>>
  [method]outgoing-request.method (borrow<outgoing-request>) -> $method
  [method]outgoing-request.set-method (borrow<outgoing-request>, $method) -> result
  [method]outgoing-request.path-with-query (borrow<outgoing-request>) -> option<string>
  [method]outgoing-request.set-path-with-query (borrow<outgoing-request>, option<string>) ->
        result
  [method]outgoing-request.scheme (borrow<outgoing-request>) -> option<$scheme>
  [method]outgoing-request.set-scheme (borrow<outgoing-request>, option<$scheme>) -> result
  [method]outgoing-request.authority (borrow<outgoing-request>) -> option<string>
  [method]outgoing-request.set-authority (borrow<outgoing-request>, option<string>) -> result
  [method]outgoing-request.headers (borrow<outgoing-request>) -> own<fields>
  [constructor]request-options () -> own<request-options>
  [method]request-options.connect-timeout (borrow<request-options>) -> option<u64>
  [method]request-options.set-connect-timeout (borrow<request-options>, option<u64>) -> result
  [method]request-options.first-byte-timeout (borrow<request-options>) -> option<u64>
  [method]request-options.set-first-byte-timeout (borrow<request-options>, option<u64>) -> result
  [method]request-options.between-bytes-timeout (borrow<request-options>) -> option<u64>
  [method]request-options.set-between-bytes-timeout (borrow<request-options>, option<u64>) ->
        result
  [method]response-outparam.send-informational (borrow<response-outparam>, u16, own<fields>) ->
        result<_, $http-error>
  [static]response-outparam.set (own<response-outparam>, result<own<outgoing-response>,
        $http-error>)
  [method]incoming-response.status (borrow<incoming-response>) -> u16
  [method]incoming-response.headers (borrow<incoming-response>) -> own<fields>
  [method]incoming-response.consume (borrow<incoming-response>) -> result<own<incoming-body>>
  [method]incoming-body.stream (borrow<incoming-body>) -> result<own<input-stream>>
  [static]incoming-body.finish (own<incoming-body>) -> own<future-trailers>
  [method]future-trailers.subscribe (borrow<future-trailers>) -> own<pollable>
  [method]future-trailers.get (borrow<future-trailers>) ->
        option<result<result<option<own<fields>>, $http-error>>>
  [constructor]outgoing-response (own<fields>) -> own<outgoing-response>
  [method]outgoing-response.status-code (borrow<outgoing-response>) -> u16
  [method]outgoing-response.set-status-code (borrow<outgoing-response>, u16) -> result
  [method]outgoing-response.headers (borrow<outgoing-response>) -> own<fields>
  [method]outgoing-response.body (borrow<outgoing-response>) -> result<own<outgoing-body>>
  [method]outgoing-body.write (borrow<outgoing-body>) -> result<own<output-stream>>
  [static]outgoing-body.finish (own<outgoing-body>, option<own<fields>>) -> result<_, $http-error>
  [method]future-incoming-response.subscribe (borrow<future-incoming-response>) -> own<pollable>
  [method]future-incoming-response.get (borrow<future-incoming-response>) ->
        option<result<result<own<incoming-response>, $http-error>>>
  http-error-code (borrow<error>) -> option<$http-error>
wasi:http/outgoing-handler
  handle (own<outgoing-request>, option<own<request-options>>) ->
        result<own<future-incoming-response>, $http-error>
"""
"""The functions of each interface, of version 0.2.12."""


@cache
def type_texts() -> Mapping[tuple[str, str], str]:
    """The type of each function, by interface and name, as `text_of` writes it."""
    named: dict[str, str] = {}
    for line in _joined(_NAMED):
        name, _, text = line.partition(" = ")
        named[name] = text
    found: dict[tuple[str, str], str] = {}
    interface = ""
    for line in _joined(_FUNCTIONS):
        if not line.startswith(" "):
            interface = line
            continue
        name, _, text = line.strip().partition(" ")
        found[interface, name] = _expand(text, named)
    return MappingProxyType(found)


def text_of(type_: WitFunction) -> str:
    """The type of a function as text, without the names of the parameters."""
    params = ", ".join(str(each) for _, each in type_.params)
    waits = "async " if type_.waits else ""
    return f"{waits}({params})" + ("" if type_.result is None else f" -> {type_.result}")


def _joined(text: str) -> list[str]:
    """The lines of a text, each with those that go on with it."""
    return re.sub(r"\n {8}", " ", text).strip("\n").split("\n")


def _expand(text: str, named: Mapping[str, str]) -> str:
    """Put types in the place of their names; a type may have named ones in it."""
    while "$" in text:
        text = re.sub(r"\$[a-z-]+", lambda match: named[match[0]], text)
    return text
