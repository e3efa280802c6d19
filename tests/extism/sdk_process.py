"""Calls plugins by Extism's own Python SDK, in a process of its own.

The SDK brings another Wasmtime and keeps its log and its host functions in globals, so it does not
share a process with what it is compared with. It reads one JSON object, and prints one; see `main`.
"""

from __future__ import annotations

import json
import re
import sys
from base64 import b64decode, b64encode
from typing import Any, Final

import extism  # type: ignore[import-untyped]  # it has no types
from extism.extism import CompiledPlugin  # type: ignore[import-untyped]  # as above
from extism_sys import lib  # type: ignore[import-untyped]  # it has no types
from tests.extism.user_functions import mixed, transformed

_lib: Final[Any] = lib
_set_log: Final[Any] = extism.set_log_custom  # a filter is more than its type says
_LOG_LINE: Final = re.compile(r"\S+ +(\w+) extism::pdk: (.*) plugin=\"[0-9a-f-]+\"\n?", re.DOTALL)


@extism.host_fn(  # type: ignore[untyped-decorator]  # it has no types
    name="transform", signature=([extism.ValType.I64], [extism.ValType.I64])
)
def transform(plugin: Any, params: Any, results: Any) -> None:
    plugin.return_bytes(results[0], transformed(plugin.input_bytes(params[0])))


@extism.host_fn(  # type: ignore[untyped-decorator]  # it has no types
    name="mix",
    signature=(
        [extism.ValType.I32, extism.ValType.I64, extism.ValType.F32, extism.ValType.F64],
        [extism.ValType.I64],
    ),
)
def mix(_plugin: Any, params: Any, results: Any) -> None:
    results[0].value = mixed(*(each.value for each in params))


def _answer(plugin: Any, name: str, data: bytes) -> dict[str, str]:
    try:
        return {"output": b64encode(plugin.call(name, data)).decode()}
    except extism.Error as error:
        return {"error": str(error)}


def _story(compiled: Any, order: dict[str, Any], calls: list[list[str]]) -> dict[str, Any]:
    """Make calls on an instance of its own."""
    plugin = extism.Plugin(compiled, config=order["config"])
    _lib.extism_plugin_allow_http_response_headers(plugin.plugin)
    answers = [_answer(plugin, name, b64decode(data)) for name, data in calls]
    order["logger"].drain()
    lines, order["lines"][:] = list(order["lines"]), []
    found = [match.groups() for line in lines if (match := _LOG_LINE.fullmatch(line))]
    return {"answers": answers, "log": found}


def main() -> None:
    """Read an order from standard input, and print the answers of its stories.

    The order: ``plugin``, a path; ``manifest``, more of the manifest; ``config``; ``level`` of the
    log; ``stories``, lists of calls, each a name and its input in base64. Each story has its own
    instance.
    """
    order = json.load(sys.stdin)
    order["lines"] = []
    order["logger"] = _set_log(order["lines"].append, f"extism::pdk={order['level']}")
    manifest = {"wasm": [{"path": order["plugin"]}], **order["manifest"]}
    compiled = CompiledPlugin(manifest, wasi=True)
    json.dump([_story(compiled, order, calls) for calls in order["stories"]], sys.stdout)


if __name__ == "__main__":
    main()
