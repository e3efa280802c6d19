"""``wasi:sockets``: there to be imported, and refused. What a guest may reach is HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, final

from .failure import Unsuccessful
from .resource import Resource

if TYPE_CHECKING:
    from wasmpool_host._wasi.process import Process

    from .failure import IoError

__all__ = [
    "Network",
    "create_socket",
    "instance_network",
    "network_error_code",
    "resolve_addresses",
]


@final
class Network(Resource):
    """``network``: it leads nowhere."""

    __slots__ = ()


def instance_network(_process: Process) -> Network:
    """The network of the guest."""
    return Network()


def network_error_code(_process: Process, _error: IoError) -> None:
    """No error is of the network."""
    return


def create_socket(_process: Process, _family: str) -> NoReturn:
    """Refuse a socket."""
    raise Unsuccessful("access-denied")


def resolve_addresses(_process: Process, _network: Network, _name: str) -> NoReturn:
    """Refuse to look a name up."""
    raise Unsuccessful("access-denied")
