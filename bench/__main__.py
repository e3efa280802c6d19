"""``python -m bench [SCENARIO ...]``: run the scenarios named, or all of them."""

from __future__ import annotations

import sys

from bench import short

SCENARIOS = {"short": short.main}


def main(names: list[str]) -> int:
    """Run the scenarios `names`; 2 if there is one that does not exist."""
    if unknown := [name for name in names if name not in SCENARIOS]:
        print(f"no scenario {', '.join(unknown)}; there are: {', '.join(SCENARIOS)}")
        return 2
    for name in names or SCENARIOS:
        SCENARIOS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
