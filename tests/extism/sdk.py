"""Asks Extism's own Python SDK, which is in the extra ``bench``."""

from __future__ import annotations

import json
import os
import sys
from base64 import b64decode, b64encode
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.extism.stories import Story

__all__ = ["Answer", "Told", "ask_sdk", "is_installed"]

_ROOT: Final = Path(__file__).parents[2]


@attrs.frozen
class Answer:
    """What a call answered: its output, or how it failed."""

    output: bytes | None
    error: str | None = None


@attrs.frozen
class Told:
    """What an instance answered to a story, and the log lines of its guest."""

    answers: list[Answer]
    log: list[tuple[str, str]]
    """Levels and messages."""


def is_installed() -> bool:
    """Return True if the SDK is there."""
    return find_spec("extism") is not None


async def ask_sdk(
    plugin: Path,
    stories: Sequence[Story],
    *,
    config: Mapping[str, str],
    manifest: Mapping[str, Any] | None = None,
    level: str = "trace",
) -> list[Told]:
    """Tell stories to a plugin, each of them to an instance of its own."""
    order = {
        "plugin": str(plugin),
        "manifest": dict(manifest or {}),
        "config": dict(config),
        "level": level,
        "stories": [[(name, b64encode(data).decode()) for name, data in each] for each in stories],
    }
    done = await trio.run_process(
        [sys.executable, "-m", "tests.extism.sdk_process"],
        stdin=json.dumps(order).encode(),
        capture_stdout=True,
        cwd=_ROOT,
        env={**os.environ, "EXTISM_CACHE_CONFIG": ""},  # nothing is left on the machine
    )
    return [_told(each) for each in json.loads(done.stdout)]


def _told(told: dict[str, Any]) -> Told:
    answers = [
        Answer(b64decode(each["output"])) if "output" in each else Answer(None, each["error"])
        for each in told["answers"]
    ]
    return Told(answers, [(level, message) for level, message in told["log"]])
