"""What can become of a command: it passed, it was refused for one of a few reasons, or it failed.

A refusal is known by the exact class and sentence of wasmpool's error. What follows from a refused
module (a call, a link to it) is refused for the same reason. All else that is not what the command
wants is a failure, except the few that are `Explained` one by one.
"""

from __future__ import annotations

import enum
import re
from typing import Final

import attrs

from wasmpool_host import CompileError, GuestMemoryError

__all__ = [
    "PASSED",
    "Explained",
    "Failed",
    "Passed",
    "Refused",
    "Superseded",
    "Verdict",
    "Why",
    "refusal_of",
]


class Why(enum.Enum):
    """Why wasmpool refuses a module, a call or the reading of a global.

    It links a module to host functions only, so the runner has a host function call the export of
    the other instance. Such a function has parameters and results, and no place in a group of types
    (``rec``, ``sub``); and an exception ends as a `GuestTrap` there.
    """

    THREADS = "shared memory and threads"
    REFERENCES = "references at the border"
    IMPORTS = "imported memories, tables, globals and tags"
    LIMITS = "above the limits"
    LINKS = "grouped types and exceptions between instances"
    PROPOSALS = "proposals after WebAssembly 3.0"


@attrs.frozen
class Passed:
    """Wasmpool did what the command wants."""

    def __str__(self) -> str:
        return "passed"


@attrs.frozen
class Refused:
    """Wasmpool does not support what the command is about, by design."""

    why: Why

    def __str__(self) -> str:
        return f"refused: {self.why.value}"


@attrs.frozen
class Superseded:
    """The command wants what WebAssembly 3.0 forbids, and wasmpool did what 3.0 wants."""

    def __str__(self) -> str:
        return "other than WebAssembly 3.0"


@attrs.frozen
class Failed:
    """Wasmpool did something else; ``what`` says what."""

    what: str

    def __str__(self) -> str:
        return "failed"


Verdict = Passed | Refused | Superseded | Failed

PASSED: Final = Passed()


@attrs.frozen
class Explained:
    """A failure that is known to be none, and part of what is said of it."""

    verdict: Refused | Superseded
    what: str

    def in_place_of(self, verdict: Verdict) -> Verdict:
        """Replace this failure, and nothing else."""
        if isinstance(verdict, Failed) and self.what in verdict.what:
            return self.verdict
        return Failed(f"{self} is out of date: {verdict!r}")


_NEEDS: Final = re.compile(r" needs (shared memory|threads), which wasmpool does not support$")
_FEATURE: Final = re.compile(r" needs a feature of WebAssembly that wasmpool does not support: .*$")
_ABOVE: Final = re.compile(
    r"(?:memory|table) starts with [\d,]+ (?:bytes|elements), above limits\.\w+=[\d,]+$"
)


def refusal_of(error: CompileError | GuestMemoryError) -> Why | None:
    """Why a module was refused when it was compiled; None if that was no refusal by design."""
    text = str(error)
    if type(error) is GuestMemoryError:
        return Why.LIMITS if _ABOVE.search(text) else None
    if type(error) is not CompileError:
        return None
    if _NEEDS.search(text):
        return Why.THREADS
    return Why.PROPOSALS if _FEATURE.search(text) else None
