"""A component with changes and with more exports, by which the host does what the C API cannot.

Wasmtime's C API has a value for each item of a list, so that a ``list<u8>`` of a megabyte costs
20 milliseconds or more, and no way to see a component's memory or to run a guest's destructor. All
of it is within a component's reach. So sections are appended to the binary, and in three places
something is added to what is there:

* **The same core functions, lifted once more**, with a pair of a pointer and a size for each list
  of bytes and each string (`paired_types`). The host writes the bytes into the guest's memory
  itself, or reads them there. The guest's allocator is lifted, too. What ends a call
  (``post-return``) must not run before the host has read the result, so it is lifted to a function
  of its own.
* **Imported functions with pairs in their types**, beside those that they stand for: the type of
  the instance that they are in has more of them, and the core functions are lowered from those.
  At the root there is an instance for each (`root_imports`).
* **A function that drops a resource**, for each that the component defines.
* **Memories and allocators under names that are known**, exported by the core modules that have
  them. The host finds these modules' instances in the store (`_capi_component.find_shown`).

Nothing but instances gets another index. Wasmtime checks the whole as it checks any component. A
component that cannot be read or changed in this way is compiled as it is. Then its lists go by
values, its memory is not counted, and its resources are dropped with the instance.
"""

from __future__ import annotations

from .anatomy import Unreadable, read_anatomy
from .augmented import Augmented
from .edits import edited
from .paired_exports import PairedExports
from .paired_imports import PairedImports
from .root_imports import RootImports
from .shown import Shown

__all__ = ["augment"]


def augment(binary: bytes) -> Augmented | None:
    """Return the component with more in it; None if it cannot be read."""
    try:
        anatomy = read_anatomy(binary)
        shown = Shown(anatomy)
        imports = PairedImports(anatomy, shown)
        roots = RootImports(binary, anatomy, shown)
        exports = PairedExports(anatomy, shown)
        edits = [*imports.edits, *roots.edits, *shown.edits(binary)]
    except (Unreadable, IndexError, UnicodeDecodeError):
        return None
    changed = edited(binary, anatomy.sections, edits, roots.replaced)
    return Augmented(
        b"".join([*changed, *roots.parts, *exports.parts]),
        len(shown.memories),
        exports.raw,
        exports.drops,
        {**imports.found, **roots.found},
        tuple(anatomy.imported),
    )
