"""Whether threads of Python run at the same time here, and the sentence for where they do not."""

from __future__ import annotations

import sys
import sysconfig

__all__ = ["has_gil", "why_one_thread"]


def has_gil() -> bool:
    """Return True where threads of Python take turns: each needs the interpreter's one lock."""
    is_enabled = getattr(sys, "_is_gil_enabled", None)  # from Python 3.13 on
    return is_enabled is None or is_enabled()


def why_one_thread(what: str, instead: str) -> str:
    """Return why several threads would do less than one.

    Args:
        what: was asked for, such as ``"--threads 2"``.
        instead: does the same with processes, such as ``"--processes 2"``.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        here = (
            "in this one the GIL is on, because of PYTHON_GIL, of -X gil, or of an extension module"
            " that needs it"
        )
    else:
        here = (
            f"such as python{version}t; in this one they take turns"
            if _has_other()
            else (f"from Python 3.14 on; this is Python {version}, where they take turns")
        )
    return f"{what} needs a free-threaded Python, {here}: use {instead}"


def _has_other() -> bool:
    """Return True if there is a free-threaded build of this version that is supported."""
    return sys.version_info >= (3, 14)
