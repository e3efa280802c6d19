"""The guest's side of the door, in this Python, with a host that answers as it is told."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import pytest

from wasmpool._scripts.interpreter import BOOTSTRAP

if TYPE_CHECKING:
    from pathlib import Path

HOST = """
import json, pathlib
answers = iter(json.loads(pathlib.Path(__file__).with_name("answers.json").read_text()))
log = pathlib.Path(__file__).with_name("requests.jsonl")
def call(frame):
    with log.open("ab") as file:
        file.write(frame + b"\\n")
    answer = next(answers)
    if answer is None:
        raise OSError("no room")
    return json.dumps(answer).encode()
"""


@attrs.frozen
class Ran:
    """How the interpreter ended, and what it asked for after its script."""

    status: int
    out: str
    err: str
    requests: list[Any]


class Run(Protocol):
    def __call__(self, source: str, *answers: Any) -> Ran: ...


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a script, with the answers to its requests."""

    def go(source: str, *answers: Any) -> Ran:
        (tmp_path / "_host.py").write_text(HOST)
        begun = {"ok": True, "source": source, "limits": {"calls": 3, "memory": 1000}}
        (tmp_path / "answers.json").write_text(json.dumps([begun, *answers]))
        program = (
            f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
            f"exec(compile({BOOTSTRAP.read_text()!r}, '<string>', 'exec'))"
        )
        done = subprocess.run(
            [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False
        )
        lines = (tmp_path / "requests.jsonl").read_text().splitlines()
        (tmp_path / "requests.jsonl").unlink()
        first, *others = map(json.loads, lines)
        assert first == {"op": "begin"}
        return Ran(done.returncode, done.stdout, done.stderr, others)

    return go


def data(text: str) -> dict[str, Any]:
    return {"ok": True, "data": text}


def error(text: str) -> dict[str, Any]:
    return {"ok": False, "error": text}


@pytest.mark.parametrize(
    ("source", "printed"),
    [
        ("", ""),
        ("1 + 1", "2\n"),
        ("print(1)\n'a'", "1\n'a'\n"),
        ("None", ""),
        ("x = 1", ""),
        ("for x in range(2): x", ""),
        ("import __main__; x = 5\n__main__.x, __name__", "(5, '__main__')\n"),
        ("import api as other\nother is api, api.__all__[0]", "(True, 'ToolError')\n"),
        ("import sys\nsys.argv", "['<script>']\n"),
        ("del api; import sys; sys.modules.pop('api')\n1", "1\n"),
    ],
)
def test_a_last_expression_is_printed(run: Run, source: str, printed: str) -> None:
    """As an interactive Python does it, and nothing for None."""
    assert run(source) == Ran(0, printed, "", [])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, null]}', "{'a': [1, None]}"),
        ("", "''"),
        ("plain", "'plain'"),
        ("12", "12"),
        ("NaN", "'NaN'"),
        ("[" * 5, "'[[[[['"),
    ],
)
def test_data_are_json_or_else_text(run: Run, text: str, value: str) -> None:
    """What Python reads beyond JSON is text, too."""
    ran = run("api.call('t', a=1, tool='x')", data(text))
    assert (ran.status, ran.out, ran.err) == (0, f"{value}\n", "")
    assert ran.requests == [{"op": "call", "tool": "t", "arguments": {"a": 1, "tool": "x"}}]


def test_an_error_of_a_tool_is_raised_or_returned(run: Run) -> None:
    """With its text."""
    ran = run("api.try_call('t'), api.try_call('t')", error("why"), data("1"))
    assert ran.out == "({'ok': False, 'error': 'why'}, {'ok': True, 'data': 1})\n"
    ran = run("try: api.call('t')\nexcept api.ToolError as e: print(repr(e))", error("why"))
    assert ran.out == "ToolError('why')\n"
    ran = run("def f():\n    api.call('t')\nf()", error("why"))
    assert (ran.status, ran.out) == (70, "")
    assert "File \"<script>\", line 2, in f\n    api.call('t')" in ran.err
    assert ran.err.endswith("\napi.ToolError: why\n")
    assert "<string>" not in ran.err


def test_a_map_returns_data_in_order_and_errors_in_their_places(run: Run) -> None:
    """The limit goes to the host."""
    answer = {"ok": True, "results": [data("1"), error("why"), data("x")]}
    ran = run("api.map('t', ({'n': n} for n in range(3)), limit=2)", answer)
    assert ran.out == "[1, ToolError('why'), 'x']\n"
    arguments = [{"n": n} for n in range(3)]
    assert ran.requests == [{"op": "map", "tool": "t", "arguments": arguments, "limit": 2}]
    assert "api.ToolError: no" in run("api.map('t', [], limit=0)", error("no")).err


def test_an_endless_map_asks_for_one_call_too_many(run: Run) -> None:
    """So the host ends the script; no more of it is read."""
    ran = run("import itertools\napi.map('t', ({'a': 1} for _ in itertools.count()))", None)
    (request,) = ran.requests
    assert request["arguments"] == [{}] * 4


@pytest.mark.parametrize("arguments", ["a=object()", "a=float('nan')", "a='\\ud800'"])
def test_arguments_that_json_cannot_express_are_an_error(run: Run, arguments: str) -> None:
    """Of the call, and nothing is asked of the host."""
    ran = run(f"api.try_call('t', {arguments})")
    assert "'ok': False" in ran.out
    assert "the arguments cannot be written as JSON: " in ran.out
    assert ran.requests == []


def test_an_answer_without_room_is_an_error(run: Run) -> None:
    """That the script can handle."""
    ran = run("api.try_call('t')", None)
    assert (
        ran.out == "{'ok': False, 'error': \"the answer does not fit into the script's memory\"}\n"
    )


@pytest.mark.parametrize(
    ("source", "status", "said"),
    [
        ("x = = 1", 70, "SyntaxError: invalid syntax\n"),
        ("print('a\0')", 70, "SyntaxError: source code string cannot contain null bytes\n"),
        (
            "class E(Exception):\n  def __str__(self): 1 / 0\nraise E",
            70,
            "E: <exception str() failed>\n",
        ),
        ("raise KeyboardInterrupt", 70, "KeyboardInterrupt\n"),
        ("a = bytearray(10)\nraise MemoryError", 70, "MemoryError: a script has 1,000 bytes, its"),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit()", 0, ""),
        ("import sys; sys.exit('bye')", 1, "bye\n"),
        ("import os; os._exit(4)", 4, ""),
        ("import sys; sys.stderr = None; 1 / 0", 70, ""),
        ("import sys; sys.exit = None; 1 / 0", 70, "ZeroDivisionError: division by zero\n"),
    ],
)
def test_each_end_has_its_status(run: Run, source: str, status: int, said: str) -> None:
    """And says no more than the script's own lines."""
    ran = run(source)
    assert ran.status == status
    assert said in ran.err
    assert bool(said) == bool(ran.err)
    assert "<string>" not in ran.err


def test_tracebacks_have_the_scripts_lines_only(run: Run) -> None:
    """Also those of the errors behind an error, and in a group."""
    ran = run(
        "import json\n"
        "try: json.loads('x')\n"
        "except ValueError as e: raise ExceptionGroup('g', [e]) from e\n"
    )
    assert ran.err.count('File "<script>", line 2') == 2
    assert "decoder.py" not in ran.err


def test_output_comes_in_the_order_of_printing(run: Run) -> None:
    """What was printed comes before the error."""
    ran = run("print('a', end='')\n1 / 0")
    assert ran.out == "a"
