"""Objects that are alive, in a cycle or not, without those that only wait for another thread.

Without a GIL, a reference that is dropped outside of the thread that has made the object is noted
for that thread, which counts it when it runs again. So an object that was made in a worker thread
lives until that is used again, or ends after some idle seconds. The collector counts at once what
all threads have noted, but it also frees cycles: here it is told to keep all that it finds. What
was only waiting is freed when nobody keeps it any more, and a cycle is still there.
"""

from __future__ import annotations

import gc
from collections import Counter
from typing import TYPE_CHECKING

from wasmpool._free_threading import has_gil

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["live_objects"]


def live_objects(watched: Collection[type]) -> Counter[type]:
    """How many there are of each of these classes."""
    if not has_gil():
        _count_noted_references()
    return Counter(type(each) for each in gc.get_objects() if type(each) in watched)


def _count_noted_references() -> None:
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
    finally:
        gc.set_debug(0)
    gc.garbage.clear()
