"""Compares what guests answer here with what they answer Extism's own SDK, story by story."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, Final

import attrs
from tests.extism.sdk import Answer, Told, ask_sdk
from tests.extism.stories import CONFIG, story
from tests.extism.user_functions import mixed, transformed
from tests.http.server import Response

from wasmpool import Caller, GuestError, HttpPolicy, host_function, open_extism

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest
    from tests.extism.stories import Story
    from tests.http.server import Request, Server

    from wasmpool import ExtismPlugin

__all__ = ["Compared", "compare"]

TRACE: Final = 5
"""The level of Extism's trace, for which logging has no name."""
LEVELS: Final = {TRACE: "TRACE", 10: "DEBUG", 20: "INFO", 30: "WARN", 40: "ERROR"}
MANIFEST: Final = {"allowed_hosts": ["127.0.0.1"]}


@host_function("extism:host/user", "transform", params=("i64",), results=("i64",))
async def transform(caller: Caller, given: int) -> int:
    return await caller.reply(transformed(caller.read(given)))


@host_function("extism:host/user", "mix", params=("i32", "i64", "f32", "f64"), results=("i64",))
def mix(_caller: Caller, a: int, b: int, c: float, d: float) -> int:
    return mixed(a, b, c, d)


async def answer(plugin: ExtismPlugin, name: str, data: bytes) -> Answer:
    try:
        return Answer(await plugin.call(name, data))
    except (GuestError, ValueError) as error:
        return Answer(None, getattr(error, "text", str(error)))


async def tell(
    guest: Path, stories: list[Story], cache: Path, caplog: pytest.LogCaptureFixture
) -> list[Told]:
    """Tell stories here, each of them to an instance of its own."""
    manifest: dict[str, Any] = {"wasm": [{"path": str(guest)}], **MANIFEST}
    policy = HttpPolicy(allow_private=True)
    told: list[Told] = []
    caplog.set_level(TRACE, "wasmpool.extism")
    async with open_extism(
        manifest, config=CONFIG, functions=[transform, mix], http=policy, size=1, cache=cache
    ) as plugin:
        for each in stories:
            caplog.clear()
            answers = [await answer(plugin, *call) for call in each]
            log = [
                (LEVELS[record.levelno], record.getMessage().partition(": ")[2])
                for record in caplog.records
                if record.name == "wasmpool.extism"
            ]
            told.append(Told(answers, log))
            async with plugin.pool.lease() as lease:
                lease.discard()
    return told


def as_both_say(call: tuple[str, bytes], answer: Answer) -> Answer:
    """Leave out of an error what each host says in its own words."""
    name, data = call
    if answer.error is None or (name == "fail" and len(data) > 1):
        return answer
    return Answer(None, "it failed")


async def seen(request: Request) -> Response:
    """Answer with what a client sent, but for what each client adds."""
    sent = [pair for pair in request.headers if pair[0].lower().startswith("x-")]
    status = int(request.query("status"))
    body = f"{request.method} {request.target} {sorted(sent)} ".encode() + request.body
    return Response(
        status, b"" if status == 204 else body, (("content-type", "text/x"), ("x-seen", "Yes"))
    )


@attrs.frozen(kw_only=True)
class Compared:
    """What a comparison is made with."""

    server: Server
    cache: Path
    caplog: pytest.LogCaptureFixture


async def compare(guest: Path, exports: Sequence[str], seeds: range, given: Compared) -> None:
    """Tell a guest one story for each seed, here and there, and assert that the answers agree."""
    given.server.route["/seen"] = seen
    stories = [story(Random(seed), exports, given.server.url) for seed in seeds]
    theirs = await ask_sdk(guest, stories, config=CONFIG, manifest=MANIFEST)
    ours = await tell(guest, stories, given.cache, given.caplog)
    for seed, calls_, their, our in zip(seeds, stories, theirs, ours, strict=True):
        for call, this, that in zip(calls_, our.answers, their.answers, strict=True):
            assert as_both_say(call, this) == as_both_say(call, that), (seed, call)
        assert our.log == their.log, seed
