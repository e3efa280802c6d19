"""The command line: ``wasmpool`` and ``python -m wasmpool``."""

from __future__ import annotations

import sys

__all__ = ["main"]

EXTRA = frozenset({"click", "rich"})


def main() -> None:
    """Run the command line and end the process with its exit status."""
    try:
        from wasmpool._cli.commands import cli

        cli(prog_name="wasmpool")
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] not in EXTRA:
            raise
        sys.stderr.write(
            f"Error: the command line needs {missing.name}, which is not installed: "
            'pip install "wasmpool[cli]"\n'
        )
        sys.exit(2)
    except KeyboardInterrupt:  # before the run listens for it, or a second one while it stops
        sys.exit(130)


if __name__ == "__main__":
    main()
