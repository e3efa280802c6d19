"""Where the cluster is: the address of a scheduler, or a cluster that is started here."""

from __future__ import annotations

import os
import re
from typing import Final, final

import attrs

from wasmpool_host.lowlevel import escaped

__all__ = ["Local", "Remote", "read_address"]

_LOCAL: Final = re.compile("local(:(?P<workers>[0-9]{1,4}))?")
_MOST_WORKERS: Final = 256
"""On one machine. More is a mistake in typing."""

_SCHEME: Final = re.compile("(?P<scheme>[a-z]+)://(?P<place>.*)", re.DOTALL)
_SCHEMES: Final = ("tcp", "tls", "ws", "wss")
_PLACE: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
"""A host and a port. An address of IPv6 is in brackets."""


@final
@attrs.frozen
class Local:
    """A cluster on this machine, for as long as it is used."""

    workers: int


@final
@attrs.frozen
class Remote:
    """A cluster that is there."""

    scheduler: str
    """The address of its scheduler, in Dask's form."""


def read_address(address: str) -> Local | Remote:
    """Read ``local``, ``local:WORKERS``, or the address of a scheduler.

    Raises:
        ValueError: it is none of them.
    """
    local = _LOCAL.fullmatch(address)
    if local is not None:
        count = local["workers"]
        workers = len(os.sched_getaffinity(0)) if count is None else int(count)
        if not 1 <= workers <= _MOST_WORKERS:
            raise ValueError(f"a local cluster has 1 to {_MOST_WORKERS} workers, not {workers}")
        return Local(workers)
    found = _SCHEME.fullmatch(address)
    scheme, place = (found["scheme"], found["place"]) if found else ("tcp", address)
    whole = _PLACE.fullmatch(place)
    if scheme not in _SCHEMES or whole is None or not 0 < int(whole["port"]) < 1 << 16:
        raise ValueError(
            f"'{escaped(address[:200])}' is not the address of a scheduler: give HOST:PORT,"
            " tcp://HOST:PORT or tls://HOST:PORT, or local for a cluster on this machine"
        )
    return Remote(f"{scheme}://{place}")
