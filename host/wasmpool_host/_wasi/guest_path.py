"""A path as a guest gives it."""

from __future__ import annotations

from .errno import Errno, WasiError

__all__ = ["MAX_PATH", "check_path"]

MAX_PATH = 4096
"""Bytes of a path (``PATH_MAX``): the system refuses longer ones."""


def check_path(path: bytes) -> bytes:
    """Return the path; raise for one that no file can have."""
    if len(path) > MAX_PATH:
        raise WasiError(Errno.NAMETOOLONG)
    if b"\0" in path:
        raise WasiError(Errno.INVAL)
    return path
