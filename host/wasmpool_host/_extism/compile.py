"""Compile a module of an Extism plugin: each of its instances has a kernel beside it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from wasmpool_host._compile.source import Source
from wasmpool_host._errors import LinkError
from wasmpool_host._given import cache_directory
from wasmpool_host._limits import Limits
from wasmpool_host._module import Module, compile_source

from .kernel import KernelKind
from .kernel_module import MODULE
from .library import Library, in_order

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from wasmpool_host._instance.host_function import HostFunction
    from wasmpool_host._types import ExternType
    from wasmpool_host._wasi import Wasi

__all__ = ["compile_extism", "kernel_imports"]


def kernel_imports() -> Mapping[tuple[str, str], ExternType]:
    """Return what a module may import of its kernel: types by module and name."""
    return KernelKind().imports


async def compile_extism(  # noqa: PLR0913 - as `Module.compile`, and one more
    source: bytes | bytearray | str | os.PathLike[str] | Source,
    *,
    imports: Sequence[HostFunction] = (),
    wasi: Wasi | None = None,
    limits: Limits | None = None,
    cache: str | os.PathLike[str] | None = None,
    most_of_guest: int | None = None,
    libraries: Mapping[str, Source] | None = None,
) -> Module:
    """Compile a module that imports the kernel's functions from ``extism:host/env``.

    It is a `Module` with another ABI: `Instance.exchange` calls an export of type () -> (i32) or
    () -> () with an input, and returns its output; the guest's error is an `ExtismError`.
    `Caller.read` and `Caller.reply` use the kernel's blocks.

    Args:
        source: as for `Module.compile`, as all but the last.
        imports: host functions that it may import beside the kernel's.
        wasi: what it gets of WASI.
        limits: what each instance may take. The kernel's blocks take a fifth of ``limits.memory``,
            and 64 MiB at most.
        cache: a directory for compiled code.
        most_of_guest: bytes of each of its memories, if this is less than what ``limits`` leave.
        libraries: modules that it may import from by these names, with the same imports. Each
            instance has its own instances of them.

    Raises:
        LinkError: libraries import from each other in a circle, one is a program, or one has the
            kernel's name.
        Exception: as `Module.compile`.

    A cancel is as for `Module.compile`.
    """
    limits = limits if limits is not None else Limits()
    directory = cache_directory(cache)
    if MODULE in (libraries or {}):
        raise LinkError(
            f"a module is named {MODULE!r}, as what the kernel provides: name it otherwise"
        )
    compiled: list[Library] = []
    for name, library in (libraries or {}).items():
        read, make = partial(Source.read, library), partial(Library, name)
        compiled.append(await compile_source(read, make, limits.stack, directory))
    kind = KernelKind(most_of_guest, in_order(compiled))
    return await Module._compile(  # noqa: SLF001 - `Module.compile` has no companions
        source, imports, wasi, limits, cache, kind
    )
