"""Reading whole files."""

from __future__ import annotations

import gc
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wasmpool._free_threading import has_gil
from wasmpool_host._regular_file import open_regular, read_at_most

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_the_memory_of_what_was_read_goes_back(tmp_path: Path) -> None:
    """Also of a large file that a thread has read; without a GIL, when more is allocated."""
    path = tmp_path / "file"
    size = 200 << 20  # several of the heaps from which the C library gives a thread small pieces
    path.touch()
    os.truncate(path, size)

    def read() -> int:
        with open_regular(str(path)) as (fd, _):
            return len(read_at_most(fd, size) or b"")

    with ThreadPoolExecutor(1) as thread:
        before = resident()
        for _ in range(2):  # large pieces are from there once one has been given back
            assert thread.submit(read).result() == size
        ends = time.monotonic() + (0 if has_gil() else 10)
        while resident() - before >= size / 4 and time.monotonic() < ends:
            time.sleep(0.01)  # Python's allocator there gives back what was freed some time before
            gc.collect()
            assert thread.submit(lambda: len([str(each) for each in range(400_000)])).result()
        assert resident() - before < size / 4


def resident() -> int:
    """Bytes of memory that this process occupies."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("change", [lambda size: size + 3_000_000, lambda size: size // 2])
def test_a_file_may_change_its_length_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[int], int]
) -> None:
    """All of it is read, and more than the limit is still refused."""
    path = tmp_path / "file"
    told = 2_000_000
    path.write_bytes(os.urandom(change(told)))
    stat = os.fstat

    def old_size(fd: int) -> os.stat_result:
        fields = list(stat(fd))
        fields[6] = told
        return os.stat_result(fields)

    with open_regular(str(path)) as (fd, _):
        monkeypatch.setattr(os, "fstat", old_size)
        assert read_at_most(fd, change(told)) == path.read_bytes()
        os.lseek(fd, 0, os.SEEK_SET)
        assert read_at_most(fd, change(told) - 1) is None
        monkeypatch.undo()
