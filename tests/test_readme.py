from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

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


def test_the_snippets_are_python() -> None:
    """Parts of programs at least compile; an await at the top is allowed in them."""
    for snippet in blocks("py"):
        compile(
            f"async def snippet():\n    {snippet.replace(chr(10), chr(10) + '    ')}", "", "exec"
        )
