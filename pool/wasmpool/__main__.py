"""The command line: ``wasmpool`` and ``python -m wasmpool``."""

from __future__ import annotations

import contextlib
import sys
from importlib.util import find_spec

__all__ = ["main"]

EXTRA = ("click", "rich")


def main() -> None:
    """Run the command line and end the process with its exit status."""
    try:
        status = _run()
    except KeyboardInterrupt:  # outside of the block that handles it, or a second Ctrl-C
        status = 130
    sys.exit(status)


def _run() -> int:
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        return _report_missing(" and ".join(missing))
    from wasmpool._cli.process import run_process

    return run_process(sys.argv[1:])


def _report_missing(missing: str) -> int:
    from wasmpool._cli.standard_streams import FAILED, OutputFailed, write_error

    with contextlib.suppress(OutputFailed):  # the exit status is all that is left
        write_error(
            f"Error: the command line needs more than is installed ({missing}): "
            'pip install "wasmpool[cli]"\n'
        )
    return FAILED


if __name__ == "__main__":
    main()
