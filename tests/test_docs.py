"""Every example of every page is run, and every link leads somewhere.

What a fenced block is, its language and the comments right before it say::

    ```python                     a complete program; it is run
    <!-- file: NAME -->           written to NAME; the programs after it can use it
    <!-- output -->               the whole output of the program before it
    ```console                    lines that begin with "$ " are run by bash, one by one; what
                                  stands below each is its output
    <!-- run: slow -->            only run with the marker slow
    <!-- not run: REASON -->      cannot be run here

All blocks of a page share a new directory. In an output a line ``...`` stands for any number of
lines, and ``...`` inside a line for any text. Blocks in other languages are only shown.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import logging
import os
import re
import secrets
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

import wasmpool
import wasmpool.batch
import wasmpool.mcp
import wasmpool.telemetry
import wasmpool_host
from wasmpool import Metadata, Tool, ToolResult
from wasmpool._plugin.contract import MALLOC, OPTIONAL, REQUIRED

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parent.parent
README: Final = ROOT / "README.md"
DOCS: Final = ROOT / "docs"
PAGES: Final = [README, *sorted(DOCS.glob("*.md"))]
LINKED: Final = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md"]

SECONDS: Final = 120
"""For one program or one block of commands; only slow ones come near it."""

APART: Final = re.compile(
    r"\b(basicConfig|faulthandler|fork|multiprocessing|os\._exit|signal|warnings)\b"
)
"""What a program must not do in the process of the tests."""


# --- reading a page ---


@attrs.frozen
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    file: str | None = None
    is_output: bool = False
    slow: bool = False
    not_run: str | None = None

    @property
    def runs(self) -> bool:
        if self.not_run is not None or self.file is not None:
            return False
        return self.language in {"python", "console"}

    def __str__(self) -> str:
        return f"{self.page}, line {self.line}"


FENCE: Final = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>[^`]*)$")
COMMENT: Final = re.compile(r"^ *<!-- *(?P<text>.*?) *-->$")


def read_blocks(page: Path) -> list[Block]:
    """Read the fenced blocks of a page, in order."""
    blocks = []
    lines = page.read_text().splitlines()
    number = 0
    while number < len(lines):
        fence = FENCE.match(lines[number])
        number += 1
        if fence is None:
            continue
        start = number
        while lines[number].strip() != fence["fence"]:
            number += 1
        text = textwrap.dedent("".join(f"{line}\n" for line in lines[start:number]))
        number += 1
        block = Block(page.name, start, fence["language"].strip(), text)
        blocks.append(attrs.evolve(block, **_directives(block, lines[: start - 1])))
    return blocks


def _directives(block: Block, before: list[str]) -> dict[str, Any]:
    """Read the comments right before a block."""
    found: dict[str, Any] = {}
    while before and (comment := COMMENT.match(before.pop())):
        text = comment["text"]
        kind, _, value = text.partition(": ")
        if text == "output":
            found["is_output"] = True
        elif text == "run: slow":
            found["slow"] = True
        elif kind in {"file", "not run"} and value:
            found[kind.replace(" ", "_")] = value
        else:
            message = f"{block}: no directive of the documentation: <!-- {text} -->"
            raise ValueError(message)
    return found


# --- running a page ---


class Run:
    """The run of one page, in a directory of its own."""

    def __init__(self, directory: Path, *, slow: bool) -> None:
        self._directory = directory
        self._slow = slow
        self._printed: str | None = None
        """What the last program printed; None before the first."""
        self._skipping = False
        """True after a program that was not run: its output is not compared."""

    def do(self, block: Block) -> None:
        if block.file is not None:
            path = self._directory / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.is_output:
            if not self._skipping:
                assert self._printed is not None, f"{block}: there is no program before this output"
                check_output(
                    f"{block}: the output of the program before", block.text, self._printed
                )
        elif block.language in {"python", "console"}:
            self._skipping = block.not_run is not None or (block.slow and not self._slow)
            if self._skipping:
                return
            if block.language == "console":
                run_commands(block, self._directory)
            elif APART.search(block.text):
                self._printed = run_in_process_of_its_own(block, self._directory)
            else:
                self._printed = run_here(block, self._directory)


def run_here(block: Block, directory: Path) -> str:
    """Run a program in this process, which is quick; return what it printed."""
    path = directory / "program.py"
    path.write_text(block.text)
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    try:
        with as_if_alone(directory), contextlib.redirect_stdout(out):
            exec(compile(block.text, path, "exec"), {"__name__": "__main__"})  # noqa: S102 - as a reader would run it
    except (Exception, SystemExit) as error:
        error.add_note(f"in {block}; it printed:\n{out.buffer.getvalue().decode()}")
        raise
    return out.buffer.getvalue().decode()


@contextlib.contextmanager
def as_if_alone(directory: Path) -> Iterator[None]:
    """Undo what a program changes in its process, so that the next one does not feel it."""
    environment, modules, path = dict(os.environ), set(sys.modules), list(sys.path)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with contextlib.chdir(directory):
        sys.path.insert(0, str(directory))
        try:
            yield
        finally:
            sys.path[:] = path
            for name in set(sys.modules) - modules:
                if str(directory) in (getattr(sys.modules[name], "__file__", None) or ""):
                    del sys.modules[name]
            os.environ.clear()
            os.environ.update(environment)
            root.handlers[:] = handlers
            root.setLevel(level)


def environment() -> dict[str, str]:
    """Return the environment of commands: `python` and `wasmpool` are those of the tests."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "80",
        "NO_COLOR": "1",
        # `os.fork` warns of threads, and the page about forks is about that.
        "PYTHONWARNINGS": "error,ignore:This process:DeprecationWarning",
    }


def run_in_process_of_its_own(block: Block, directory: Path) -> str:
    """Run a program that its process would not survive unchanged; return what it printed."""
    (directory / "program.py").write_text(block.text)
    ran = subprocess.run(
        [sys.executable, "program.py"],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if ran.returncode:
        pytest.fail(
            f"{block}: ended with status {ran.returncode}\n{ran.stdout}{ran.stderr}", pytrace=False
        )
    return ran.stdout


def run_commands(block: Block, directory: Path) -> None:
    """Run a block's commands in one shell, and compare what each prints."""
    commands = read_commands(block)
    marker = secrets.token_hex(8)
    script = "".join(
        f"{{ {command}\n}} 2>&1; _status=$?; echo '{marker}' $_status; (exit $_status)\n"
        for command, _ in commands
    )
    ran = subprocess.run(
        ["bash", "-c", script],  # noqa: S607 - as the reader's
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    parts = re.split(rf"{marker} (\d+)\n", ran.stdout)
    outputs, statuses = parts[0:-1:2], parts[1::2]
    assert len(outputs) == len(commands), (
        f"{block}: the shell ended early\n{ran.stdout}{ran.stderr}"
    )
    for (command, expected), output, status in zip(commands, outputs, statuses, strict=True):
        where = f"{block}: the output of `{command}`"
        check_output(where, expected, output)
        told = expected.replace("...", "").strip()
        assert status == "0" or told, f"{where}: failed with status {status}\n{output}"


def read_commands(block: Block) -> list[tuple[str, str]]:
    """Read the commands of a console block, each with the output that is expected."""
    commands: list[tuple[str, str]] = []
    continues = False
    for line in block.text.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], ""))
        else:
            assert commands, f"{block}: begins with an output"
            command, output = commands.pop()
            if continues or (line.startswith("> ") and not output):
                commands.append((f"{command}\n{line.removeprefix('> ')}", output))
            else:
                commands.append((command, f"{output}{line}\n"))
        continues = line.endswith("\\")
    return commands


def check_output(where: str, expected: str, printed: str) -> None:
    """Fail with a difference where an output is not the expected one."""
    wanted, given = (
        [line.rstrip() for line in text.rstrip().splitlines()] for text in (expected, printed)
    )
    pattern = "".join(
        r"(?:.*\n)*?"
        if line.strip() == "..."
        else f"{'.*?'.join(map(re.escape, line.split('...')))}\n"
        for line in wanted
    )
    if re.fullmatch(pattern, "".join(f"{line}\n" for line in given)) is None:
        for number, line in enumerate(wanted):  # what matches is no difference
            like = re.compile(".*?".join(map(re.escape, line.split("..."))))
            wanted[number] = (
                next(filter(like.fullmatch, given), line) if line.strip() != "..." else line
            )
        difference = "\n".join(difflib.unified_diff(wanted, given, "page", "printed", lineterm=""))
        pytest.fail(f"{where} is another one\n{difference}", pytrace=False)


def page_runs() -> Iterator[object]:
    for page in PAGES:
        blocks = read_blocks(page)
        yield pytest.param(page, False, id=page.stem)
        if any(block.slow for block in blocks):
            yield pytest.param(page, True, id=f"{page.stem}-slow", marks=pytest.mark.slow)


@pytest.mark.parametrize(("page", "slow"), [*page_runs()])
def test_the_examples_run(page: Path, slow: bool, tmp_path: Path) -> None:
    """Each does what the page says that it does."""
    run = Run(tmp_path, slow=slow)
    for block in read_blocks(page):
        run.do(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_example_escapes(page: Path) -> None:
    """Each block of Python or of commands is run, or says why not."""
    blocks = read_blocks(page)
    for position, block in enumerate(blocks):
        if block.not_run is not None:
            continue
        assert block.language not in {"", "py", "python3", "pycon", "Python"}, (
            f"{block}: use `python` for a program, `text` for what is only shown"
        )
        if block.language in {"sh", "bash", "shell"} and block.file is None:
            assert page == README, f"{block}: use `console`, or say why the commands are not run"
        if block.file is not None and block.language == "python":
            module = Path(block.file).stem
            later = blocks[position + 1 :]
            assert any(re.search(rf"\b{module}\b", other.text) for other in later if other.runs), (
                f"{block}: no later example runs {block.file}"
            )


# --- the README ---


def blocks_of_readme(language: str) -> list[str]:
    return [block.text for block in read_blocks(README) if block.language == language]


def test_the_first_example_prints_its_sums(tmp_path: Path) -> None:
    """All 32, in any order, and nothing else."""
    block = next(block for block in read_blocks(README) if block.language == "python")
    printed = run_here(block, tmp_path)
    assert sorted(printed.splitlines()) == sorted(f"{n} + {n} = {2 * n}" for n in range(32))


def test_the_commands_are_these() -> None:
    """What a newcomer types after the clone, to the letter."""
    assert blocks_of_readme("sh") == [
        'python -m pip install ".[cli]" && wasmpool run\n',
        'python -m pip install -e ".[test]" && python -m pytest\n',
    ]


def test_the_readme_is_short() -> None:
    """The pages hold the rest."""
    assert len(README.read_text().splitlines()) <= 120


# --- the contract of plugins ---


def test_the_contract_is_told_whole() -> None:
    """Each export of the contract has its row, with its type."""
    page = (DOCS / "plugins.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*\| `?([^|`]*)`? \|", page, re.MULTILINE))
    told = {name: rows.get(name) for name in [*REQUIRED, *OPTIONAL]}
    assert told == {
        name: str(type_).replace("-> (", "-> ").removesuffix(")")
        for name, type_ in {**REQUIRED, **OPTIONAL}.items()
    }
    assert all(f"`{name}`" in page for name in MALLOC)
    keys = [field.name for each in (Metadata, Tool, ToolResult) for field in attrs.fields(each)]
    keys.remove("schemas")  # the plugin gives them as values of "parameters"
    assert [key for key in keys if f'"{key}"' not in page] == []


# --- the reference ---


def public_names() -> Iterator[str]:
    """Yield each public name once, by the package that an application imports it from."""
    yield from (f"wasmpool.{name}" for name in wasmpool.__all__)
    yield from (
        f"wasmpool_host.{name}" for name in wasmpool_host.__all__ if name not in wasmpool.__all__
    )
    yield from (f"wasmpool_host.lowlevel.{name}" for name in wasmpool_host.lowlevel.__all__)
    yield from (f"wasmpool.batch.{name}" for name in wasmpool.batch.__all__)
    yield from (f"wasmpool.mcp.{name}" for name in wasmpool.mcp.__all__)
    yield from (f"wasmpool.telemetry.{name}" for name in wasmpool.telemetry.__all__)


def test_the_reference_is_whole() -> None:
    """Each public name is there, once, and nothing else."""
    module = ""
    documented = []
    for kind, name in re.findall(
        r"^\.\. (py:currentmodule|auto\w+):: (\S+)$",
        (DOCS / "reference.md").read_text(),
        re.MULTILINE,
    ):
        if kind == "automodule":
            continue
        if kind == "py:currentmodule":
            module = name
        else:
            documented.append(f"{module}.{name}")
    assert sorted(documented) == sorted(public_names())


# --- operating ---


@pytest.mark.skipif(not (ROOT / "pool").exists(), reason="needs the sources")
def test_each_logger_is_documented() -> None:
    """The table has the loggers of the code, and no others."""
    sources = [
        path.read_text() for package in ("pool", "host") for path in (ROOT / package).rglob("*.py")
    ]
    named = {
        name
        for source in sources
        for name in re.findall(r'getLogger\(f?"([^"]+)"\)', source)
        if "{" not in name
    }
    page = (DOCS / "operating.md").read_text()
    section = page.partition("\n## Logging\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(wasmpool[\w.]*)` \|", section, re.MULTILINE)
    assert set(rows) == named | {"wasmpool.guest.stdout", "wasmpool.guest.stderr"}


# --- links ---


def without_code(text: str) -> str:
    text = re.sub(r"^ *(`{3,})[^`\n]*\n.*?^ *\1 *$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(`+)[^`].*?\1", "", text)


def anchors(page: Path) -> set[str]:
    """Return what a link to a part of a page names: its headings, in the form of GitHub."""
    found: set[str] = set()
    fenced = re.sub(
        r"^ *(`{3,})[^`\n]*\n.*?^ *\1 *$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE
    )
    for heading in re.findall(r"^#{1,4} +(.+?) *$", fenced, re.MULTILINE):
        words = re.sub(r"\[([^]]*)]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return found


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.stem)
def test_the_links_lead_somewhere(page: Path) -> None:
    """Each file and each heading that a page links to is there."""
    broken = []
    for link in re.findall(r"\[[^]]*]\(([^)\s]+)\)", without_code(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if target.suffix != ".md" and not (ROOT / "pool").exists():
            continue  # the tests run beside the pages alone, without the sources
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


# --- how this file reads pages ---


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\n", "a\nb\n", False),
        ("a\n...\n", "a\nb\nc\n", True),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("...\n", "", True),
        ("", "a\n", False),
        ("took ... s\n", "took 0.1 s\n", True),
        ("took ... s\n", "took\n0.1 s\n", False),
        ("(a)\n", "a\n", False),
    ],
)
def test_outputs_are_compared(expected: str, printed: str, same: bool) -> None:
    """Line by line, with three dots for what differs from run to run."""
    with contextlib.nullcontext() if same else pytest.raises(pytest.fail.Exception):
        check_output("here", expected, printed)


def test_blocks_are_read(tmp_path: Path) -> None:
    """With the comments right before them, also within a list."""
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n<!-- file: a.py -->\n```python\nx = 1\n```\n\n- b\n\n  <!-- run: slow -->\n"
        "  ```console\n  $ echo 1\n  1\n  ```\n\n<!-- not run: no network -->\n```sh\nls\n```\n"
    )
    first, second, third = read_blocks(page)
    assert (first.language, first.text, first.file, first.line) == ("python", "x = 1\n", "a.py", 4)
    assert (second.text, second.slow) == ("$ echo 1\n1\n", True)
    assert third.not_run == "no network"


def test_a_wrong_directive_is_found(tmp_path: Path) -> None:
    """A mistyped one would let an example escape."""
    page = tmp_path / "page.md"
    page.write_text("<!-- ouput -->\n```text\n1\n```\n")
    with pytest.raises(ValueError, match="page.md, line 2: no directive"):
        read_blocks(page)


def test_a_command_that_fails_is_found(tmp_path: Path) -> None:
    """Even where its output may be anything, and with the state of the commands before it."""
    good = Block("page", 1, "console", "$ A=1; echo \\\n>   $A\n1\n$ false; echo $?\n1\n")
    run_commands(good, tmp_path)
    with pytest.raises(AssertionError, match="failed with status 1"):
        run_commands(Block("page", 1, "console", "$ false\n...\n"), tmp_path)
