"""The world of one run: its own arguments, environment, streams and files.

It is the module's `Wasi` with what the run gives instead, and a `Tree` for its files.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, final

import attrs
import trio

from wasmpool_host._instance.program import CAPTURE, Capture
from wasmpool_host._log_extra import NOBODY
from wasmpool_host._scheduling.loop_share import run_shielded
from wasmpool_host._shown import shown

from .collection import Collection
from .errno import WasiError
from .pattern import Pattern
from .process import open_process_offloaded
from .streams import IterableSource, StreamInput, StreamOutput, StreamSource
from .tree import MAX_NAME, FolderNode, Tree
from .tree_files import TreeDirectory

if TYPE_CHECKING:
    from .config import Preopen, StrPath, Wasi
    from .process import Process
    from .streams import ByteSource

__all__ = ["RunWorld"]

_ROOT = "/"


@final
class RunWorld:
    """What one run is given; see `Instance.run`."""

    def __init__(  # noqa: PLR0913 - what a run can be given
        self,
        wasi: Wasi,
        name: str,
        *,
        args: Iterable[str] | None = None,
        stdin: Any = b"",
        env: Mapping[str, str] | None = None,
        preopens: Mapping[str, Preopen | StrPath] | None = None,
        files: Mapping[str, bytes] | None = None,
        collect: Iterable[str] = (),
        stdout: Any = CAPTURE,
        stderr: Any = CAPTURE,
        capture_limit: int = 1 << 20,
        files_limit: int = 64 << 20,
    ) -> None:
        """``wasi`` and ``name`` are the module's.

        Raises:
            TypeError, ValueError: naming the argument that cannot be given to a run.
        """
        _check_count("capture_limit", capture_limit)
        _check_count("files_limit", files_limit)
        self.log_extra: Mapping[str, object] = NOBODY
        """Attributes of the log records of its output."""
        self._captures: dict[str, Capture] = {}
        if stdout is CAPTURE:
            stdout = self._captures["stdout"] = Capture(capture_limit)
        if stderr is CAPTURE:
            stderr = self._captures["stderr"] = Capture(capture_limit)
        self._source = _source(stdin)
        self._sends = {
            fd: each
            for fd, each in ((1, stdout), (2, stderr))
            if isinstance(each, trio.abc.SendStream)
        }
        changes: dict[str, Any] = {
            "stdin": b"" if self._source else stdin,
            "stdout": None if 1 in self._sends else stdout,
            "stderr": None if 2 in self._sends else stderr,
        }
        if args is not None:
            changes["args"] = args
        elif not wasi.args:
            changes["args"] = (name,)
        if env is not None:
            changes["env"] = env
        if preopens is not None:
            changes["preopens"] = preopens
        self._wasi = attrs.evolve(wasi, **changes)
        self._patterns = _patterns(collect)
        self._tree = None if files is None else _tree(files, files_limit)
        if self._tree is not None and _ROOT in self._wasi.preopens:
            message = "a run has its files in '/': it cannot have a preopen of that name as well"
            raise ValueError(message)
        if self._patterns and self._tree is None:
            message = "collect asks for files of the run, and it has none: give files={} at least"
            raise ValueError(message)

    @property
    def args(self) -> tuple[str, ...]:
        """The arguments."""
        return self._wasi.args

    @property
    def needs_task(self) -> bool:
        """True if its input is taken in a task of its own."""
        return self._source is not None and self._source.needs_task

    async def open(self, nursery: trio.Nursery | None = None) -> Process:
        """Open the process of the run. ``nursery`` is there if it needs a task.

        Raises:
            OSError: a preopened directory is gone, or was replaced.
        """
        root = None
        if self._tree is not None:
            root = TreeDirectory(self._tree, self._tree.root, guest_path=_ROOT.encode())
        process = await open_process_offloaded(self._wasi, root, self.log_extra)
        if self._source is not None:
            process.descriptors.put(0, StreamInput(self._source, nursery))
        for fd, stream in self._sends.items():
            process.descriptors.put(fd, StreamOutput(stream))
        return process

    def captured(self, stream: str) -> Capture | None:
        """What captures ``"stdout"`` or ``"stderr"``, if anything does."""
        return self._captures.get(stream)

    async def collect(self) -> Collection | None:
        """Return the files that were asked for. A cancel is not delivered here."""
        if self._tree is None or not self._patterns:
            return None
        collection = Collection(self._tree, self._patterns)
        await run_shielded(collection.steps())
        return collection

    async def end(self) -> None:
        """Free the files. A cancel is not delivered here."""
        if self._tree is not None:
            await run_shielded(self._tree.end())


def _source(stdin: object) -> ByteSource | None:
    if isinstance(stdin, trio.abc.ReceiveStream):
        return StreamSource(stdin)
    if isinstance(stdin, AsyncIterable):
        return IterableSource(stdin)
    return None


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        message = f"{name} must be a number of bytes, not {shown(value)}"
        raise TypeError(message)
    if value < 0:
        message = f"{name} must be 0 or more bytes, not {value:,}"
        raise ValueError(message)


def _tree(files: Mapping[str, bytes], limit: int) -> Tree:
    if not isinstance(files, Mapping):
        message = f"files must be a mapping of paths to bytes, not {shown(files)}"
        raise TypeError(message)
    tree = Tree(limit)
    for path, content in files.items():
        _add_file(tree, path, content)
    return tree


def _add_file(tree: Tree, path: object, content: object) -> None:
    if not isinstance(path, str):
        message = f"files: a path must be a str, not {shown(path)}"
        raise TypeError(message)
    if not isinstance(content, bytes):
        message = f"files[{shown(path)}] must be bytes, not {shown(content)}"
        raise TypeError(message)
    *folders, name = names = path.removeprefix("/").encode().split(b"/")
    if b"\0" in path.encode() or any(each in {b"", b".", b".."} for each in names):
        message = f"files: {shown(path)} is no path of a file, as in '/work/input.txt'"
        raise ValueError(message)
    if max(map(len, names)) > MAX_NAME:
        message = f"files: {shown(path)} has a name of more than {MAX_NAME} bytes"
        raise ValueError(message)
    folder = tree.root
    try:
        for each in folders:
            inner = folder.entries.get(each) or tree.make_folder(folder, each)
            if not isinstance(inner, FolderNode):
                message = f"files: {shown(path)} lies in {shown(each.decode())}, which is a file"
                raise ValueError(message)  # noqa: TRY004 - of the argument's value
            folder = inner
        if name in folder.entries:
            message = f"files: {shown(path)} is given twice, or is a directory, too"
            raise ValueError(message)
        tree.fill(tree.make_file(folder, name), content)
    except WasiError as error:
        message = f"files: they hold more than files_limit={tree.limit:,} bytes"
        raise ValueError(message) from error


def _patterns(collect: Iterable[str]) -> list[Pattern]:
    if isinstance(collect, str) or not isinstance(collect, Iterable):
        message = f"collect must be a sequence of patterns, not {shown(collect)}"
        raise TypeError(message)
    found = []
    for pattern in collect:
        if not isinstance(pattern, str):
            message = f"collect: a pattern must be a str, not {shown(pattern)}"
            raise TypeError(message)
        found.append(_compiled(pattern))
    return found


_compiled = lru_cache(maxsize=256)(Pattern)
