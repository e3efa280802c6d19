"""What a run leaves in its tree, and is asked for.

The tree is what an untrusted program has made of it: 100,000 files, a chain of as many directories,
or a thousand names of one large file. So the walk goes in steps, for the loop's sake; a file with
many names is copied once; and paths are bounded, each of them and all together.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final, final

from .tree import FileNode, FolderNode

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from .pattern import Pattern, Reached
    from .tree import Node, Tree

__all__ = ["Collection"]

_MAX_PATH: Final = 4096
"""Characters of a path (``PATH_MAX``). Longer ones can be made by way of open directories."""

_CHUNK: Final = 256 * 1024
"""Bytes of content that are copied in one step."""


@final
class Collection:
    """The files of a tree whose paths match one of the patterns."""

    # Invariant: `files` holds no more bytes than the tree, and paths of as many characters.

    def __init__(self, tree: Tree, patterns: Sequence[Pattern]) -> None:
        self.files: dict[str, bytes] = {}
        """Content by path."""
        self.is_truncated = False
        """True if something was left out, as its path, or all of them, are too long."""
        self._tree = tree
        self._patterns = patterns
        self._room = tree.limit
        self._contents: dict[FileNode, bytes] = {}

    def steps(self) -> Iterator[None]:
        """Collect them, in short steps."""
        start = [(pattern, pattern.start) for pattern in self._patterns]
        # Depth first, so that few paths are kept at a time.
        ahead = [("/", iter(self._tree.root.entries.items()), start)]
        while ahead:
            path, entries, reached = ahead[-1]
            entry = next(entries, None)
            if entry is None:
                ahead.pop()
                continue
            yield
            name = entry[0].decode("utf-8", "surrogateescape")
            here = [
                (pattern, found)
                for pattern, before in reached
                if (found := pattern.step(before, name))
            ]
            node = self._wanted(entry[1], here)
            if node is None:
                continue
            inner = path + name
            if len(inner) > _MAX_PATH:
                self.is_truncated = True
            elif isinstance(node, FileNode):
                yield from self._take(inner, node)
            else:
                ahead.append((inner + "/", iter(node.entries.items()), here))

    @staticmethod
    def _wanted(
        node: Node, reached: Sequence[tuple[Pattern, Reached]]
    ) -> FileNode | FolderNode | None:
        """A file that matches, or a directory in which something may; else None."""
        if isinstance(node, FolderNode):
            return node if any(one.goes_on(found) for one, found in reached) else None
        if isinstance(node, FileNode) and any(one.matches(found) for one, found in reached):
            return node
        return None

    def _take(self, path: str, node: FileNode) -> Iterator[None]:
        self._room -= len(path)
        if self._room < 0:
            self.is_truncated = True
            return
        if node not in self._contents:
            self._contents[node] = yield from _content(node)
        self.files[path] = self._contents[node]


def _content(node: FileNode) -> Generator[None, None, bytes]:
    if node.size <= _CHUNK:
        return node.read(0, node.size)
    whole = io.BytesIO()
    for start in range(0, node.size, _CHUNK):
        whole.write(node.read(start, _CHUNK))
        yield
    return whole.getvalue()
