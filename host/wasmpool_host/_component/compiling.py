"""From a source to a compiled component, in threads or in another process."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

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

from .augment import augment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .augmented import Augmented

__all__ = ["compile_component"]

T = TypeVar("T")

_COMPILING: Final = BlockingCalls("compilations of components", limit=16)


async def compile_component(
    given: Any, make: Callable[[Source, Any, Augmented | None], T], stack: int, cache: Path | None
) -> T:
    """Read a source, compile it, and make something of both; all of this in threads.

    Args:
        given: what `Component.compile` was given.
        make: is given the source, the compiled component, and what was added to it, if anything.
        stack: chooses the engine.
        cache: the directory of the cache, or None.
    """

    def begin() -> tuple[_Work, T | None]:
        """Make it, unless another process is to compile the source."""
        work = _Work(Source.read(given), stack, cache)
        compiled = work.cached()
        if compiled is not None:
            return work, make(work.source, compiled, work.augmented)
        if open_instances and len(work.source.binary) >= SUBPROCESS_THRESHOLD:
            return work, None
        return work, complete(work)

    def complete(work: _Work, code: bytes | None = None) -> T:
        compiled = work.compiled(code)
        return make(work.source, compiled, work.augmented)

    work, made = await _COMPILING.run(begin)
    if made is not None:
        return made
    code = await compile_in_subprocess(
        work.binary, work.source.label, settings=capi.SETTINGS, what="component"
    )
    return await _COMPILING.run(complete, work, code)


@final
class _Work:
    """What one component is compiled from: the source, with what is added to it."""

    def __init__(self, source: Source, stack: int, cache: Path | None) -> None:
        check_component(source.binary, source.label)
        self.source: Source = source
        self._engine = component_engine_of(stack).wasmtime
        check_faulthandler()
        self._cache = cache
        self.augmented: Augmented | None = augment(source.binary)

    @property
    def binary(self) -> bytes:
        """The component, with what was added to it."""
        return self.source.binary if self.augmented is None else self.augmented.binary

    def cached(self) -> Any | None:
        """The compiled code that is in the cache, or None."""
        if self._cache is None:
            return None
        from wasmpool_host._compile import cache  # noqa: PLC0415 - few components have a cache

        return cache.find(self._engine, self._digest(), self._cache, codec=capi)

    def compiled(self, code: bytes | None) -> Any:
        """The component of this code, or else compiled here; it is kept in the cache."""
        compiled = self._made(code)
        if self._cache is not None:
            from wasmpool_host._compile import cache  # noqa: PLC0415 - as above

            cache.keep(compiled, self._digest(), self._cache, codec=capi)
        return compiled

    def _digest(self) -> str:
        return hashlib.sha256(self.binary).hexdigest()

    def _made(self, code: bytes | None) -> Any:
        if code is not None:
            with suppress(_capi.CApiError):
                return capi.deserialize(self._engine, code)
        if self.augmented is not None:
            with suppress(_capi.CApiError):
                return capi.compile_binary(self._engine, self.augmented.binary)
            self.augmented = None  # invalid, or extended in a way that it does not allow
        try:
            return capi.compile_binary(self._engine, self.source.binary)
        except _capi.CApiError as error:
            raise CompileError(why_refused(self.source.label, str(error), "component")) from None
