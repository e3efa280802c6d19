"""What a program has left is collected within bounds, and without holding the loop."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from tests.held_loop import HELD, watching

from wasmpool_host import Wasi
from wasmpool_host._wasi.collection import Collection
from wasmpool_host._wasi.errno import WasiError
from wasmpool_host._wasi.pattern import Pattern
from wasmpool_host._wasi.run_world import RunWorld
from wasmpool_host._wasi.tree import FolderNode, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20


def matches(pattern: str, path: str) -> bool:
    compiled = Pattern(pattern)
    reached = compiled.start
    for name in path.split("/"):
        reached = compiled.step(reached, name)
    return compiled.matches(reached)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("a", "a", True),
        ("/a", "a", True),
        ("a/", "a", True),
        ("a", "a/b", False),
        ("a/b", "a", False),
        ("*", "a", True),
        ("*", "a/b", False),
        ("*/b", "a/b", True),
        ("*.t?t", "x.txt", True),
        ("[ab]*", "b1", True),
        ("[!ab]*", "b1", False),
        ("**", "a", True),
        ("**", "a/b/c", True),
        ("**/c", "c", True),
        ("**/c", "a/b/c", True),
        ("**/c", "a/b/c/d", False),
        ("a/**", "a/b/c", True),
        ("a/**", "b/a", False),
        ("a/**/c", "a/c", True),
        ("a/**/c", "a/b/b/c", True),
        ("**/a/**/b", "x/a/y/a/b", True),
        ("**/**", "a", True),
        ("a**", "ab", True),
        ("a**", "a/b", False),
        ("", "a", False),
    ],
)
def test_a_pattern_is_as_of_pathlib(pattern: str, path: str, expected: bool) -> None:
    """As ``PurePath.full_match``, from the root."""
    assert matches(pattern, path) is expected


def filled(limit: int, *entries: Callable[[Tree, int], object]) -> Tree:
    """A tree that is full of what ``entries`` make."""
    tree = Tree(limit)
    with contextlib.suppress(WasiError):
        for number in itertools.count():
            for entry in entries:
                entry(tree, number)
    return tree


def wide(limit: int) -> Tree:
    return filled(limit, lambda tree, number: tree.make_file(tree.root, f"{number}".encode()))


def deep(limit: int) -> Tree:
    """Each directory in the one before it, a file in each."""
    ends: list[FolderNode] = []

    def go_on(tree: Tree, _: int) -> None:
        end = ends[-1] if ends else tree.root
        tree.make_file(end, b"f")
        ends.append(tree.make_folder(end, b"d"))

    return filled(limit, go_on)


def linked(limit: int) -> Tree:
    """One large file with many names."""
    tree = Tree(limit)
    node = tree.make_file(tree.root, b"file")
    tree.fill(node, b"x" * (limit // 2))
    with contextlib.suppress(WasiError):
        for number in itertools.count():
            tree.add_name(tree.root, f"{number}".encode(), node)
    return tree


def collected(tree: Tree, *patterns: str) -> Collection:
    collection = Collection(tree, [Pattern(each) for each in patterns])
    for _ in collection.steps():
        pass
    return collection


def test_names_of_one_file_share_its_content() -> None:
    """It would be a thousand times what the tree may hold."""
    collection = collected(linked(MIB), "**")
    assert len(collection.files) > 1000
    assert len({id(content) for content in collection.files.values()}) == 1
    assert not collection.is_truncated


def test_paths_are_bounded() -> None:
    """To what can be said, and all together to what the tree may hold: ``truncated`` says so."""
    tree = deep(8 * MIB)
    collection = collected(tree, "**")
    assert collection.is_truncated
    assert max(map(len, collection.files)) <= 4096
    assert sum(map(len, collection.files)) <= tree.limit
    assert len(collection.files) > 1000


def test_what_cannot_match_is_not_looked_at() -> None:
    """A walk takes no more steps than there are entries where something may match."""
    tree = deep(MIB)
    collection = Collection(tree, [Pattern("d/*")])
    assert sum(1 for _ in collection.steps()) == 4
    assert collection.files == {"/d/f": b""}
    assert not collection.is_truncated


def test_names_that_are_no_utf_8_come_back() -> None:
    """As `os.fsdecode` has them."""
    tree = Tree(MIB)
    tree.fill(tree.make_file(tree.root, b"\xff"), b"x")
    assert collected(tree, "*").files == {"/\udcff": b"x"}


def test_large_files_come_back_whole() -> None:
    """Copied piece by piece."""
    tree = Tree(4 * MIB)
    content = bytes(range(251)) * 10_000
    tree.fill(tree.make_file(tree.root, b"file"), content)
    assert collected(tree, "file").files == {"/file": content}


def world_of(tree: Tree) -> RunWorld:
    world = RunWorld(Wasi(), "name", files={}, collect=["**", "*/x*"])
    world._tree = tree
    return world


@pytest.mark.parametrize("make", [wide, deep, linked])
async def test_the_loop_goes_on_meanwhile(make: Callable[[int], Tree]) -> None:
    """While the files are collected, and while they are freed."""
    world = world_of(make(16 * MIB))
    with watching() as longest:
        await trio.lowlevel.checkpoint()
        collection = await world.collect()
        await trio.lowlevel.checkpoint()
        await world.end()
        await trio.lowlevel.checkpoint()
    assert collection is not None
    assert collection.files
    assert longest.seconds < HELD


async def test_a_cancel_is_not_delivered() -> None:
    """The program has ended: what it left is not lost."""
    tree = wide(4 * MIB)
    world = world_of(tree)
    with trio.CancelScope() as scope:
        scope.cancel()
        collection = await world.collect()
        await world.end()
        assert collection is not None
        assert len(collection.files) > 1000
    assert not scope.cancelled_caught
    assert not tree.root.entries


async def test_a_small_tree_takes_no_checkpoint() -> None:
    """What is over at once does not wait for a pass."""
    tree = Tree(MIB)
    tree.make_file(tree.root, b"file")
    world = world_of(tree)
    with trio.testing.assert_no_checkpoints():
        await world.collect()
        await world.end()


def steps_of(generator: Iterator[Any]) -> int:
    return sum(1 for _ in generator)


def test_the_end_frees_one_entry_at_a_step() -> None:
    """Directories, too, however deep."""
    tree = deep(MIB)
    entries = MIB // (2 * 513)
    assert abs(steps_of(tree.end()) - 2 * entries) <= 4
    assert not tree.root.entries
