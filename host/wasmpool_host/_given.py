"""What `Module.compile`, `Component.compile` and the like are given: checked, and copied.

Copied, as the caller may change the originals while a thread or a process compiles.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ._engine import check_process
from ._in_trio import check_trio
from ._limits import Limits
from ._linking import check_imports

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from ._instance.host_function import HostFunction
    from ._wasi import Wasi

__all__ = ["Given", "cache_directory", "checked"]


class Given(NamedTuple):
    """The arguments, with their defaults."""

    source: Any
    imports: tuple[HostFunction, ...]
    wasi: Wasi
    limits: Limits
    directory: Path | None
    """The cache."""


def checked(  # noqa: PLR0913 - as the methods that are given them
    what: str,
    source: Any,
    *,
    imports: Sequence[HostFunction],
    wasi: Wasi | None,
    limits: Limits | None,
    cache: str | os.PathLike[str] | None,
) -> Given:
    """Check the arguments of ``what``, such as ``"Module.compile"``; copy them.

    Raises:
        TypeError: one is of another type.
        ValueError: two imports have one name.
        RuntimeError: outside of trio, or in a forked child.
    """
    from ._wasi import Wasi  # noqa: PLC0415 - `import wasmpool` is faster without it

    check_process()
    check_trio(what)
    check_imports(imports)
    _check_type("limits", limits, Limits)
    _check_type("wasi", wasi, Wasi)
    return Given(
        bytes(source) if isinstance(source, (bytearray, memoryview)) else source,
        tuple(imports),
        wasi if wasi is not None else Wasi(),
        limits if limits is not None else Limits(),
        cache_directory(cache),
    )


def cache_directory(cache: str | os.PathLike[str] | None) -> Path | None:
    """Return the directory of a cache, whichever directory the process goes to; None for none."""
    return None if cache is None else Path(cache).absolute()


def _check_type(knob: str, value: object, type_: type) -> None:
    if value is not None and not isinstance(value, type_):
        raise TypeError(f"{knob} must be a {type_.__name__}(...) or None, not {value!r}")
