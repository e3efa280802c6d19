"""An example plugin that implements the whole contract; PATH is its module."""

import atexit
from contextlib import ExitStack
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

__all__ = ["PATH"]

# From a zip archive, this is a copy that is deleted at exit; otherwise it is the file itself.
_copies = ExitStack()
atexit.register(_copies.close)

PATH: Final[Path] = _copies.enter_context(as_file(files(__name__) / "example.wasm"))
