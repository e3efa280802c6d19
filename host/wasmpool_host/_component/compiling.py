"""From a source to a compiled component, in threads or in another process."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from wasmpool_host import _capi
from wasmpool_host import _capi_component as capi
from wasmpool_host._compile.compiler import (
    SUBPROCESS_THRESHOLD,
    check_component,
    compile_in_subprocess,
    why_refused,
)
from wasmpool_host._compile.source import Source
from wasmpool_host._engine import check_faulthandler, component_engine_of
from wasmpool_host._errors import CompileError
from wasmpool_host._open_instances import open_instances
from wasmpool_host._scheduling.blocking_calls import BlockingCalls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["compile_component"]

T = TypeVar("T")

_COMPILING: Final = BlockingCalls("compilations of components", limit=16)


async def compile_component(
    given: Any, make: Callable[[Source, Any], T], stack: int, directory: Path | None
) -> T:
    """Read a source, compile it, and make something of both; all of this in threads.

    Args:
        given: what `Component.compile` was given.
        make: is given the source, and the compiled component.
        stack: chooses the engine.
        directory: the cache, or None.
    """

    def begin() -> tuple[Source, T | None]:
        """Make it, unless another process is to compile the source."""
        source = Source.read(given)
        check_component(source.binary, source.label)
        engine = component_engine_of(stack)
        check_faulthandler()
        compiled = _cached(engine.wasmtime, source, directory)
        if compiled is not None:
            return source, make(source, compiled)
        if open_instances and len(source.binary) >= SUBPROCESS_THRESHOLD:
            return source, None
        return source, complete(source)

    def complete(source: Source, code: bytes | None = None) -> T:
        compiled = _compiled(component_engine_of(stack).wasmtime, source, code)
        if directory is not None:
            from wasmpool_host._compile import cache  # noqa: PLC0415 - as in `_cached`

            cache.keep(compiled, source.digest, directory, codec=capi)
        return make(source, compiled)

    source, made = await _COMPILING.run(begin)
    if made is not None:
        return made
    code = await compile_in_subprocess(
        source.binary, source.label, settings=capi.SETTINGS, what="component"
    )
    return await _COMPILING.run(complete, source, code)


def _cached(engine: Any, source: Source, directory: Path | None) -> Any:
    if directory is None:
        return None
    from wasmpool_host._compile import cache  # noqa: PLC0415 - few components have a cache

    return cache.find(engine, source.digest, directory, codec=capi)


def _compiled(engine: Any, source: Source, code: bytes | None) -> Any:
    if code is not None:
        with suppress(_capi.CApiError):
            return capi.deserialize(engine, code)
    try:
        return capi.compile_binary(engine, source.binary)
    except _capi.CApiError as error:
        raise CompileError(why_refused(source.label, str(error), "component")) from None
