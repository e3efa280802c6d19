"""Runs one script in the interpreter, with ``api`` for calls of tools.

This is given to the CPython that is a guest, as its program. The script shares the interpreter with
it, and may change all of it: nothing here protects anything. What a script may do is checked on the
host's side of the door.
"""

from __future__ import annotations

import _ast
import builtins
import json
import sys
from os import _exit as leave
from types import ModuleType

import _host  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]  # built into the interpreter

TYPE_CHECKING = False  # each module that is not in the interpreter's memory takes milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, NoReturn

NAME = "<script>"
RAISED = 70
"""The exit status that says that an error was printed."""

limits: dict[str, int] = {}


class ToolError(Exception):
    """A call of a tool has failed; the message says why."""

    __module__ = "api"


# --- what scripts use ---


def call(tool: str, /, **arguments: Any) -> Any:
    """Call a tool by its name, and return its data: what its JSON says, or else its text.

    Raises ToolError if the tool fails.
    """
    return data_of(send("call", tool, arguments))


def try_call(tool: str, /, **arguments: Any) -> dict[str, Any]:
    """Call a tool, and return {"ok": True, "data": ...} or {"ok": False, "error": "..."}."""
    try:
        return {"ok": True, "data": call(tool, **arguments)}
    except ToolError as error:
        return {"ok": False, "error": str(error)}


def map_calls(tool: str, arguments: Iterable[Mapping[str, Any]], /, limit: int = 8) -> list[Any]:
    """Call a tool with each dict of arguments, ``limit`` calls at once.

    Returns what the calls return, in the order of the arguments. In the place of a call that has
    failed is its ToolError.
    """
    listed: list[dict[str, Any]] = []
    for each in arguments:
        listed.append(dict(each))
        if len(listed) > limits["calls"]:  # the host will end the script: the rest is not needed
            listed = [{}] * len(listed)
            break
    answer = send("map", tool, listed, limit=limit)
    if not answer["ok"]:
        raise ToolError(answer["error"])
    return [outcome(each) for each in answer["results"]]


def send(op: str, tool: str, arguments: object, **more: object) -> dict[str, Any]:
    """Ask for calls; what JSON cannot express is a ToolError, too."""
    try:
        return ask(op=op, tool=tool, arguments=arguments, **more)
    except (TypeError, ValueError, RecursionError) as error:
        problem = str(error)
    raise ToolError(f"the arguments cannot be written as JSON: {problem}")


def ask(**request: object) -> dict[str, Any]:
    """Send a request through the door; return the answer."""
    frame = json.dumps(request, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        answer = _host.call(frame.encode())
    except OSError:
        return {"ok": False, "error": "the answer does not fit into the script's memory"}
    read: dict[str, Any] = json.loads(answer)
    return read


def data_of(answer: Mapping[str, Any]) -> Any:
    """Return the data of an answer, or raise its error."""
    if not answer["ok"]:
        raise ToolError(answer["error"])
    try:
        return json.loads(answer["data"], parse_constant=refuse)
    except (ValueError, RecursionError):
        return answer["data"]


def refuse(constant: str) -> NoReturn:
    """NaN and the like are not JSON."""
    raise ValueError(constant)


def outcome(answer: Mapping[str, Any]) -> Any:
    """Return the data of an answer, or its error."""
    try:
        return data_of(answer)
    except ToolError as error:
        return error.with_traceback(None)


# --- the script ---


def main() -> None:
    """Ask for a script, and run it."""
    begun = ask(op="begin")
    limits.update(begun["limits"])
    stdout: Any = sys.stdout
    stdout.reconfigure(line_buffering=True)  # what was printed is not lost where time ends
    sys.argv[:] = [NAME]
    public = {"ToolError": ToolError, "call": call, "map": map_calls, "try_call": try_call}
    map_calls.__name__ = map_calls.__qualname__ = "map"
    api = make_module("api", __doc__="Calls of tools.", __all__=sorted(public), **public)
    script = make_module("__main__", api=api, __builtins__=builtins)
    status = run(begun["source"], vars(script))
    say("")
    leave(status)  # to take the interpreter down takes longer than a short script


def make_module(name: str, **names: object) -> ModuleType:
    """Make a module that can be imported."""
    module = ModuleType(name)
    vars(module).update(names)
    sys.modules[name] = module
    return module


def run(source: str, names: dict[str, Any]) -> int:
    """Run a script, and return the status that the interpreter is to exit with."""
    try:
        execute(source, names)
    except SystemExit as end:
        return status_of(end.code)
    except MemoryError as error:
        error.__traceback__ = None  # its frames hold what the script has filled the memory with
        names.clear()
        say(f"MemoryError: a script has {limits['memory']:,} bytes, its interpreter included\n")
    except BaseException as error:
        report(error, source)
    else:
        return 0
    return RAISED


def status_of(code: object) -> int:
    """Return what a status is that a script exits with; a text is printed, as always."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    say(f"{code}\n")
    return 1


def execute(source: str, names: dict[str, Any]) -> None:
    """Run a script as an interactive Python does: the value of a last expression is printed."""
    tree: Any = compile(source, NAME, "exec", _ast.PyCF_ONLY_AST)
    last = None
    if tree.body and isinstance(tree.body[-1], _ast.Expr):
        last = _ast.Expression(tree.body.pop().value)
    exec(compile(tree, NAME, "exec"), names)
    value = None if last is None else eval(compile(last, NAME, "eval"), names)
    if value is not None:
        print(repr(value))


def report(error: BaseException, source: str) -> None:
    """Print an error, with the lines of the script and no others."""
    try:
        import linecache
        import traceback

        linecache.cache[NAME] = len(source), None, source.splitlines(keepends=True), NAME
        said = traceback.TracebackException.from_exception(error)
        keep_lines_of_the_script(said, set())
        text = "".join(said.format())
    except BaseException:  # the script's own classes take part in it
        text = f"{type(error).__name__}\n"
    say(text)


def keep_lines_of_the_script(said: Any, seen: set[int]) -> None:
    """Do so in the errors behind an error, too."""
    if said is None or id(said) in seen:
        return
    seen.add(id(said))
    said.stack[:] = [frame for frame in said.stack if frame.filename == NAME]
    for each in (said.__cause__, said.__context__, *(said.exceptions or ())):
        keep_lines_of_the_script(each, seen)


def say(text: str) -> None:
    """Print to standard error, after all that was printed before."""
    for stream, part in ((sys.stdout, ""), (sys.stderr, text)):
        try:
            print(part, end="", file=stream, flush=True)
        except Exception:  # the script may have closed or replaced it
            pass


main()
