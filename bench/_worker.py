"""A contender's process: ``python -m bench._worker SCENARIO CONTENDER EFFORT``.

It reads the name of a case from each line of its input, measures the case, and writes a line of
JSON. In between it does nothing, so that the other contenders can use the machine.
"""

from __future__ import annotations

import json
import sys

import attrs
import trio

from bench._effort import Effort
from bench.scenarios import load

__all__ = ["main"]


def main() -> None:
    """Serve until the input ends."""
    scenario, contender, effort = sys.argv[1:]
    trio.run(_serve, scenario, contender, Effort(**json.loads(effort)))


async def _serve(scenario: str, contender: str, effort: Effort) -> None:
    async with load(scenario).open(contender, effort) as measure:
        # Reading blocks the loop until the next turn, on purpose.
        while line := sys.stdin.readline():
            sample = await measure(line.strip())
            print(json.dumps(attrs.asdict(sample)), flush=True)


if __name__ == "__main__":
    main()
