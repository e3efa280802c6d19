"""A watched directory that a script tortures, while tasks execute; a seed repeats the script.

``WASMPOOL_SOAK_SECONDS`` bounds the soak (600 by default), ``WASMPOOL_SOAK_SEED`` is its seed.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import pytest
import trio
from tests.plugin.answers import CLOSED

from wasmpool._plugin.loader import Loader, open_loader
from wasmpool_host._capi import text_to_binary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

SECONDS: Final = float(os.environ.get("WASMPOOL_SOAK_SECONDS", "600"))
SEED: Final = int(os.environ.get("WASMPOOL_SOAK_SEED", "1"))

TASKS: Final = 16
NAMES: Final = ("a", "b", "c", "d", "line\nbreak", "über")
VERSIONS: Final = tuple(f"v{number}" for number in range(1, 7))


@final
class Torture:
    """Does to a directory what deployments, editors and accidents do."""

    def __init__(self, root: Path, binaries: dict[str, bytes], seed: int) -> None:
        self._random = random.Random(seed)
        self._root = root
        self._binaries = binaries
        self._moves = 0
        self.directory = root / "current"
        self.store = root / "store"
        self.store.mkdir()
        for version, binary in binaries.items():
            (self.store / f"{version}.wasm").write_bytes(binary)
        self.new_release()
        self._steps = (
            self.write, self.write, self.write_in_place, self.write_partly, self.replace,
            self.replace, self.link, self.link, self.link_to_nothing, self.link_to_itself,
            self.remove, self.remove, self.rename, self.chmod, self.touch, self.make_fifo,
            self.make_directory, self.make_socket, self.make_sparse, self.make_hidden,
            self.make_editors_files, self.forbid, self.delete_directory, self.new_release,
            self.new_release,
        )  # fmt: skip

    def step(self) -> None:
        """Do one of them; what it meets may be of any kind, and so it may fail."""
        with contextlib.suppress(OSError):
            self._random.choice(self._steps)()

    def file(self) -> Path:
        return self.directory / f"{self._random.choice(NAMES)}.wasm"

    def free_file(self) -> Path:
        file = self.file()
        self.clear(file)
        return file

    def binary(self) -> bytes:
        return self._binaries[self._random.choice(VERSIONS)]

    def clear(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def beside(self) -> Path:
        self._moves += 1
        return self._root / f"{self._moves}.new"

    def write(self) -> None:
        self.free_file().write_bytes(self.binary())

    def write_in_place(self) -> None:
        """Of the same size, and with the time kept."""
        file = self.file()
        if file.is_file() and not file.is_symlink():
            before = file.stat()
            file.write_bytes(self.binary())
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    def write_partly(self) -> None:
        binary = self.binary()
        self.free_file().write_bytes(binary[: self._random.randrange(len(binary))])

    def replace(self) -> None:
        new = self.beside()
        new.write_bytes(self.binary())
        new.replace(self.file())

    def link(self) -> None:
        new = self.beside()
        new.symlink_to(self.store / f"{self._random.choice(VERSIONS)}.wasm")
        new.replace(self.file())

    def link_to_nothing(self) -> None:
        self.free_file().symlink_to(self._root / "nothing")

    def link_to_itself(self) -> None:
        file = self.free_file()
        file.symlink_to(file)

    def remove(self) -> None:
        self.clear(self.file())

    def rename(self) -> None:
        self.file().rename(self.file())

    def chmod(self) -> None:
        self.file().chmod(self._random.choice((0o000, 0o644, 0o600)))

    def touch(self) -> None:
        os.utime(self.file())

    def make_fifo(self) -> None:
        os.mkfifo(self.free_file())

    def make_directory(self) -> None:
        self.free_file().mkdir()

    def make_socket(self) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.free_file()))

    def make_sparse(self) -> None:
        file = self.free_file()
        file.touch()
        os.truncate(file, self._random.choice((1 << 20, 1 << 40)))

    def make_hidden(self) -> None:
        (self.directory / ".hidden.wasm").write_bytes(self.binary())

    def make_editors_files(self) -> None:
        for name in ("a.wasm~", "#a.wasm#", "~a.wasm", ".a.wasm.swp", "4913"):
            (self.directory / name).write_bytes(self.binary())

    def forbid(self) -> None:
        self.directory.chmod(self._random.choice((0o000, 0o755, 0o755)))

    def delete_directory(self) -> None:
        shutil.rmtree(self.directory.resolve())

    def new_release(self) -> None:
        """Swap a link to a directory, as deployments do."""
        release = self.beside()
        release.mkdir()
        for name in NAMES:
            if self._random.random() < 0.7:
                (release / f"{name}.wasm").write_bytes(self.binary())
        new = self.beside()
        new.symlink_to(release)
        new.replace(self.directory)

    def settle(self) -> dict[str, str]:
        """Leave every file as one that can be loaded, or gone; their versions by name."""
        with contextlib.suppress(OSError):
            self.directory.chmod(0o755)
        if not self.directory.is_dir():
            self.new_release()
        left: dict[str, str] = {}
        for name in NAMES:
            file = self.directory / f"{name}.wasm"
            if self._random.random() < 0.3:
                self.clear(file)
            elif version := self._version_of(file):
                left[name] = version  # as the torture has left it
            elif self._random.random() < 0.5:
                self.clear(file)
            else:
                self.clear(file)
                file.write_bytes(self.binary())
                left[name] = self._version_of(file)
        return left

    def _version_of(self, file: Path) -> str:
        """Empty for what is no whole plugin; a file that is one becomes readable."""
        if not file.is_file() or file.stat().st_size > 1 << 20:
            return ""
        file.chmod(0o644)
        content = file.read_bytes()
        return next((key for key, binary in self._binaries.items() if binary == content), "")


def in_service(loader: Loader) -> dict[str, str]:
    return {
        name: plugin.metadata.version
        for name, plugin in loader.plugins.items()
        if plugin.metadata is not None
    }


def descriptors() -> set[str]:
    """What this process has open of watches and of files that it has watched."""
    found: set[str] = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(link.readlink())
            if "inotify" in target or "/current" in target or target.endswith((".wasm", ".new")):
                found.add(target)
    return found


async def torture(
    root: Path,
    wat: Callable[..., str],
    until: Until,
    *,
    seed: int,
    rounds: Iterable[object],
    pause: float,
) -> int:
    """Torture in rounds; at the end of each, what serves is what is on disk.

    Some steps are followed by the pause, in which files may settle.
    """
    pick = random.Random(seed)
    binaries = {version: text_to_binary(wat(version=version)) for version in VERSIONS}
    script = Torture(root, binaries, seed)
    calls = 0

    async def caller(number: int) -> None:
        nonlocal calls
        pick = random.Random(number)
        while True:
            await trio.sleep(pick.uniform(0, 0.01))
            if plugins := list(loader.plugins.values()):
                result = await pick.choice(plugins).execute("version")
                assert result == CLOSED or result.data in VERSIONS, result
                calls += 1

    async with trio.open_nursery() as nursery, open_loader(size=2) as loader:
        await nursery.start(loader.watch, script.directory)
        async with trio.open_nursery() as callers:
            for number in range(TASKS):
                callers.start_soon(caller, number)
            for _round in rounds:
                for _ in range(pick.randrange(1, 30)):
                    script.step()
                    await trio.sleep(pick.choice((0, 0, 0.002, pause)))
                on_disk = script.settle()
                await until(lambda: in_service(loader) == on_disk)  # noqa: B023 - awaited here
            callers.cancel_scope.cancel()
    return calls


def rounds_for(seconds: float) -> Iterator[None]:
    ends = trio.current_time() + seconds
    while trio.current_time() < ends:
        yield


@pytest.mark.usefixtures("quick_watch")
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_what_serves_is_what_is_on_disk(
    tmp_path: Path,
    wat: Callable[..., str],
    until: Until,
    listeners: Callable[[], int],
    seed: int,
) -> None:
    """Whatever a directory goes through, calls are answered and the watch ends up right."""
    calls = await torture(tmp_path, wat, until, seed=seed, rounds=range(4), pause=0.01)
    assert calls > 0
    await until(lambda: listeners() == 0)
    assert descriptors() == set()


@pytest.mark.slow
async def test_a_long_torture(
    tmp_path: Path, wat: Callable[..., str], until: Until, listeners: Callable[[], int]
) -> None:
    """The same for as long as asked; no thread and no descriptor is lost."""
    calls = await torture(tmp_path, wat, until, seed=SEED, rounds=rounds_for(SECONDS), pause=0.05)
    print(f"seed {SEED}: {calls:,} calls in {SECONDS:g} s")
    assert calls > 0
    await until(lambda: listeners() == 0)
    assert descriptors() == set()
