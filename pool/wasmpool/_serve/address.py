"""The address that a server listens at."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, final

import attrs

from wasmpool_host.lowlevel import shown

__all__ = ["Address"]

_FORM: Final = re.compile(
    r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\s\[\]/]+):(?P<port>[0-9]{1,5})", re.ASCII
)


@final
@attrs.frozen
class Address:
    """A host and a port."""

    host: str
    """A name or an address, without brackets."""
    port: int
    """0 for any that is free."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def of(cls, text: str) -> Address:
        """Read ``HOST:PORT``.

        Raises:
            ValueError: it has another form.
        """
        match = _FORM.fullmatch(text)
        if match is None or int(match["port"]) > 65_535:
            raise ValueError(
                f"must be HOST:PORT, such as 127.0.0.1:8000 or [::1]:8000, not {shown(text)}"
            )
        return cls(match["host"].strip("[]"), int(match["port"]))

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can reach it."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # another name
            return False
