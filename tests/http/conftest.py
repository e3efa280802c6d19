"""The server, the names and the certificate that the client is tested with."""

from __future__ import annotations

from tests.http.server import certificate, resolver, server

__all__ = ["certificate", "resolver", "server"]
