"""Many lines, each one call of a plugin's tool or one run of a program, in one process or several.

`map_lines` is what ``wasmpool run`` is made of. Nothing else of the package imports this module.
"""

from __future__ import annotations

from ._batch.mapping import Row, Rows, map_lines
from ._batch.places import PlacesFailed

__all__ = ["PlacesFailed", "Row", "Rows", "map_lines"]

for _each in (PlacesFailed, Row, Rows, map_lines):
    _each.__module__ = __name__  # where users import them from
