from __future__ import annotations

import pickle
import sys

from wasmpool._batch.dask.sealed import Sealed


def test_what_is_sealed_is_shown_nowhere_and_arrives() -> None:
    """Its `repr` has only the size."""
    sealed = Sealed({"token": "secret"})
    arrived: Sealed[dict[str, str]] = pickle.loads(pickle.dumps(sealed))  # noqa: S301 - our own
    assert arrived.open() == {"token": "secret"}
    assert "secret" not in f"{arrived!r} {arrived}"
    assert arrived.digest == sealed.digest


def test_its_size_is_known() -> None:
    """Dask counts it."""
    assert 1 << 20 < sys.getsizeof(Sealed(b"x" * (1 << 20))) < (1 << 20) + 1000
