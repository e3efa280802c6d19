"""The commands and their options; the rest is imported when one runs, so ``--help`` is quick."""

from __future__ import annotations

import os
import sys

import click

__all__ = ["cli"]

TASKS_PER_INSTANCE = 4
"""Enough that no instance waits for a line while others are read and written."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wasmpool")
def cli() -> None:
    """Run WebAssembly plugins on pools of isolated instances."""


@cli.command()
@click.argument("plugin", required=False)
@click.option("--tool", metavar="NAME", help="Tool to call.  [default: the plugin's only one]")
@click.option(
    "--input",
    metavar="FILE",
    help="Lines to work through; - is standard input.  [default: a generated text]",
)
@click.option(
    "--output",
    metavar="FILE",
    default="-",
    show_default=True,
    help="Where results go; - is standard output.",
)
@click.option(
    "--size",
    metavar="N",
    type=click.IntRange(min=1),
    help="Instances at most.  [default: one per CPU]",
)
@click.option(
    "--tasks",
    metavar="M",
    type=click.IntRange(min=1),
    help=f"Calls under way at most.  [default: {TASKS_PER_INSTANCE} per instance]",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds after which a call is ended, and its line an error.  [default: none]",
)
def run(  # noqa: PLR0913 - one parameter for each option
    *,
    plugin: str | None,
    tool: str | None,
    input: str | None,  # noqa: A002 - the option's name
    output: str,
    size: int | None,
    tasks: int | None,
    timeout: float | None,
) -> None:
    """Call a tool of PLUGIN once for each line of the input.

    A line that starts with { is a JSON object of arguments, any other line is plain text:
    {"text": line}. Each answer is one line, {"data": ...} with the tool's text or {"error": ...},
    in the order of the input; one bad line fails alone. A table on standard error sums up.

    Without PLUGIN, the embedded example runs, by default its tool word_count.

    Exit status: 0 if all went well, 1 if any line failed, 2 for wrong use, 130 after Ctrl-C.
    """
    try:
        import trio

        from .job import Job, run_job

        size = size or len(os.sched_getaffinity(0))
        job = Job(
            plugin=plugin,
            tool=tool,
            input=input,
            output=output,
            size=size,
            tasks=tasks or TASKS_PER_INSTANCE * size,
            timeout=timeout,
        )
        status = trio.run(run_job, job)
    except KeyboardInterrupt:  # before the run listens for it
        status = 130
    sys.exit(status)


@cli.command()
@click.argument("plugin")
def inspect(plugin: str) -> None:
    """Show what PLUGIN imports and exports, and what it says of itself.

    For each import it says whether this host provides it; at the end, whether the module meets
    the contract of plugins, or what is missing.

    Exit status: 0 for a plugin, 1 for a module that is none, 2 if it is no module.
    """
    try:
        import trio

        from .inspection import inspect_file

        status = trio.run(inspect_file, plugin)
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)
