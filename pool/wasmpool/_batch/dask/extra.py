"""Whether Dask is installed: it is an extra."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

__all__ = ["check_installed"]

_NEEDED: Final = ("distributed", "cryptography")


def check_installed(asking: str) -> None:
    """Check that what a batch with Dask needs is installed. It imports none of it.

    Args:
        asking: what needs it, for the message.

    Raises:
        ImportError: something is missing; the message says how it is installed.
    """
    for name in _NEEDED:
        if find_spec(name) is None:
            raise ImportError(f'{asking} needs {name}: pip install "wasmpool[dask]"', name=name)
