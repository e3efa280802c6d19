"""The extra: `wasmpool` works without it, and `wasmpool.telemetry` says what is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCKED = """
import sys
sys.modules["{package}"] = None
import wasmpool
try:
    import wasmpool.telemetry
except ModuleNotFoundError as error:
    print(error)
"""


@pytest.mark.parametrize("package", ["opentelemetry", "prometheus_client"])
def test_a_missing_package_is_named(package: str) -> None:
    """With the command that installs it."""
    code = BLOCKED.format(package=package)
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.startswith(f"wasmpool.telemetry needs {package}")
    assert ran.stdout.endswith('which is not installed: pip install "wasmpool[telemetry]"\n')


def test_nothing_else_imports_the_packages() -> None:
    """A program that measures nothing pays nothing for them."""
    code = (
        "import sys, wasmpool; wasmpool.open_plugin, wasmpool.Loader\n"
        "print([name for name in sys.modules if 'telemetry' in name or 'prometheus' in name])"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "[]\n"
