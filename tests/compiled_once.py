"""Modules that tests use often are compiled once, where compiling is not what is tested."""

from __future__ import annotations

import functools
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from unittest import mock

from wasmpool_host import _capi
from wasmpool_host import _module as module_module
from wasmpool_host._compile.compiler import compile_in_subprocess

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["each_module_compiled_once"]

_compile = functools.lru_cache(maxsize=32)(_capi.compile_binary)

_code: dict[bytes, bytes | None] = {}


async def _code_of(binary: bytes, label: str) -> bytes | None:
    if binary not in _code:
        _code[binary] = await compile_in_subprocess(binary, label)
    return _code[binary]


@contextmanager
def each_module_compiled_once() -> Iterator[None]:
    """Keep the compiled code of each binary, both of this process and of compilers' processes."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(_capi, "compile_binary", _compile))
        stack.enter_context(mock.patch.object(module_module, "compile_in_subprocess", _code_of))
        yield
