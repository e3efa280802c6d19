from __future__ import annotations

import platform
from typing import Any

import pytest

from wasmpool._batch.dask.versions import differences, report_differences, versions_here

HERE = {"Python": "3.12", "wasmpool": "0.1.0", "wasmtime": "50.0.1", "distributed": "2026.8.0"}


def side(**changes: str | None) -> dict[str, Any]:
    """What Dask reports of one side."""
    found = {"wasmpool": "0.1.0", "wasmtime": "50.0.1", "distributed": "2026.8.0", "numpy": None}
    return {"host": {}, "packages": {"python": "3.12.9.final.0", **found, **changes}}


def test_equal_versions_are_no_message() -> None:
    """Of Python the first two numbers count."""
    report = {"scheduler": side(), "workers": {"tcp://a:1": side(python="3.12.1.final.0")}}
    assert report_differences(HERE, report) is None
    assert report_differences(HERE, {"scheduler": side(), "workers": {}}) is None


@pytest.mark.parametrize(
    ("package", "there", "message"),
    [
        ("wasmtime", "49.0.0", "has wasmtime 49.0.0, and this side has 50.0.1"),
        ("wasmpool", None, "has no wasmpool, and this side has 0.1.0"),
        ("python", "3.11.2.final.0", "has Python 3.11, and this side has 3.12"),
    ],
)
def test_a_difference_names_both_sides(package: str, there: str | None, message: str) -> None:
    """The scheduler and each worker by its address."""
    other = side(**{package: there})
    report = {"scheduler": other, "workers": {"tcp://a:1": side(), "tcp://b:2": other}}
    assert report_differences(HERE, report) == (
        f"the scheduler {message}; the worker tcp://b:2 {message}"
    )


def test_a_large_cluster_makes_no_large_message() -> None:
    """The first few are enough."""
    workers = {f"tcp://a:{port}": side(wasmtime="1") for port in range(100)}
    message = report_differences(HERE, {"scheduler": side(), "workers": workers})
    assert message is not None
    assert message.endswith("; and 95 more")


def test_this_side_knows_its_versions() -> None:
    """They are equal to themselves."""
    here = versions_here()
    assert here["Python"] == ".".join(platform.python_version_tuple()[:2])
    assert {"wasmtime", "distributed"} <= here.keys()
    assert not list(differences(here, here))
