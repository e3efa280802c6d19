from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from wasmpool import Metadata, Tool, ToolResult
from wasmpool._plugin.contract import MALLOC, OPTIONAL, REQUIRED
from wasmpool.example import PATH as EXAMPLE

if TYPE_CHECKING:
    import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_example_runs_as_it_stands() -> None:
    """Copied into a file of its own, it prints 32 sums and nothing else."""
    (example,) = blocks("python")
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert sorted(ran.stdout.splitlines()) == sorted(f"{n} + {n} = {2 * n}" for n in range(32))


def test_the_commands_are_these() -> None:
    """What a newcomer types after the clone, to the letter."""
    assert blocks("sh") == [
        'python -m pip install ".[cli]" && wasmpool run\n',
        'python -m pip install -e ".[test]" && python -m pytest\n',
    ]


def snippet(words: str) -> str:
    (found,) = [block for block in blocks("py") if words in block]
    return found


async def test_the_tour_runs_as_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Given a directory with a plugin, each of its steps does what its comment says."""
    shutil.copy(EXAMPLE, tmp_path / "words.wasm")
    names: dict[str, Any] = {}
    exec(snippet("async def tour"), names)  # noqa: S102 - as a reader would run it
    await names["tour"](tmp_path)
    one, two, error, plugins = capsys.readouterr().out.splitlines()
    assert (one, two) == ("1 of generation 1", "2 of generation 2")
    assert error.endswith("took longer than limits.call_seconds=1 - 1 retired")
    assert plugins == "plugins: words"


def test_the_plugin_runs_as_it_stands() -> None:
    """It prints what the example has counted."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", snippet("open_plugin(PATH)")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout)["words"] == 6


def test_the_contract_is_told_whole() -> None:
    """Each export of the contract has its row, with its type."""
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*\| `?([^|`]*)`? \|", README, re.MULTILINE))
    told = {name: rows[name] for name in [*REQUIRED, *OPTIONAL]}
    assert told == {
        name: str(type_).replace("-> (", "-> ").removesuffix(")")
        for name, type_ in {**REQUIRED, **OPTIONAL}.items()
    }
    assert all(f"`{name}`" in README for name in MALLOC)
    contract = README.partition("### Writing a plugin")[2]
    for class_ in (Metadata, Tool, ToolResult):
        assert all(f'"{field.name}"' in contract for field in attrs.fields(class_))
