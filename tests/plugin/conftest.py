"""Plugins for the tests, each compiled once, and a server that they can ask."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.compiled_once import each_module_compiled_once
from tests.http.server import server

import wasmpool
from wasmpool._plugin import notifications
from wasmpool._plugin import watch as watch_module

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


__all__ = ["server"]

GUESTS = Path(__file__).parents[1] / "guests"
EXAMPLE = Path(wasmpool.__file__).parent / "example" / "example.wasm"


@pytest.fixture(autouse=True, scope="module")
def compiled_once() -> Generator[None]:
    """What is tested here does not depend on how long a module takes to compile."""
    with each_module_compiled_once():
        yield


@pytest.fixture(scope="session")
def example() -> Path:
    """The example plugin's file."""
    return EXAMPLE


@pytest.fixture(scope="session")
def wat() -> Callable[..., str]:
    """The plugin by hand as text, with parts of it replaced."""
    text = (GUESTS / "wat_plugin.wat").read_text()

    def variant(**replaced: str) -> str:
        variants = {
            "version": ("v1", replaced.get("version", "v1")),
            "abi": ('\\"abi_version\\":1', f'\\"abi_version\\":{replaced.get("abi", "1")}'),
            "without": (f'(export "{replaced.get("without", "")}")', ""),
            "start": (";;start", replaced.get("start", ";;start")),
            "name": ('16) "wat_plugin"', f'16) "{replaced.get("name", "wat_plugin")}"'),
            "tool": ('\\"overlap\\"', f'\\"{replaced.get("tool", "overlap")}\\"'),
        }
        changed = text
        for key in replaced:
            before, after = variants[key]
            assert before in changed, key
            changed = changed.replace(before, after)
        return changed

    return variant


@pytest.fixture(params=["example", "go", "wat", "leaky"])
def each_plugin(request: pytest.FixtureRequest) -> Path:
    """Each plugin of the project, one in Zig, one in Go, one by hand, and one that leaks."""
    return {
        "example": EXAMPLE,
        "go": GUESTS / "go_plugin.wasm",
        "wat": GUESTS / "wat_plugin.wat",
        "leaky": GUESTS / "leaky.wasm",
    }[request.param]


@pytest.fixture(scope="session")
def leaky() -> Path:
    """A plugin whose free traps, and whose replies leak."""
    return GUESTS / "leaky.wasm"


@pytest.fixture
def listeners() -> Callable[[], int]:
    """Count the threads of watchfiles; they end a moment after their watch."""

    def count() -> int:
        found = 0
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):  # it has ended since
                found += "notify" in (task / "comm").read_text()
        return found

    return count


@pytest.fixture
def quick_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses of a watch, each a tenth as long, for tests of what comes after them.

    Not the one before a second reading: that is to find each file as the test has left it.
    """
    for name in ("_LIST_EVERY", "_SETTLED", "_FIRST_RETRY"):
        monkeypatch.setattr(watch_module, name, getattr(watch_module, name) / 10)
    for name in ("_STEP", "_DEBOUNCE"):
        monkeypatch.setattr(notifications, name, getattr(notifications, name) // 10)
