"""A plugin of the whole contract, to start from and to try things on; PATH is its module."""

import atexit
from contextlib import ExitStack
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

__all__ = ["PATH"]

# Out of a zip archive it is a copy that lives as long as the process; else the file itself.
_copies = ExitStack()
atexit.register(_copies.close)

PATH: Final[Path] = _copies.enter_context(as_file(files(__name__) / "example.wasm"))
