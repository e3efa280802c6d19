"""The commands and their options; the rest is imported when one runs, so ``--help`` is quick."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click

from .standard import FAILED, write_error, write_out
from .values import as_credentials, as_hosts, as_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["cli"]

TASKS_PER_INSTANCE = 4
"""Enough that no instance waits for a line while others are read and written."""


def _show_help(context: click.Context, _option: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's form
    if wanted and not context.resilient_parsing:
        write_out(f"{context.get_help()}\n")
        context.exit()


def _show_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's form
    if wanted and not context.resilient_parsing:
        write_out(f"wasmpool, version {version('wasmpool')}\n")
        context.exit()


def _eager(*names: str, callback: Any, text: str) -> Callable[[Any], Any]:
    # Click's own would write through a buffer, whose failure is seen too late.
    return click.option(
        *names, is_flag=True, expose_value=False, is_eager=True, callback=callback, help=text
    )


_help = _eager("-h", "--help", callback=_show_help, text="Show this message and exit.")
_version = _eager("--version", callback=_show_version, text="Show the version and exit.")


@click.group(
    invoke_without_command=True, subcommand_metavar="COMMAND [ARGS]...", add_help_option=False
)
@_version
@_help
@click.pass_context
def cli(context: click.Context) -> int:
    """Run WebAssembly plugins on pools of isolated instances."""
    if context.invoked_subcommand is None:
        write_error(f"{context.get_help()}\n")
    return FAILED  # unless a command follows, whose status counts


@cli.command(add_help_option=False, short_help="Call a plugin's tool for each line of a file.")
@click.argument("plugin", required=False)
@click.option("--tool", metavar="NAME", help="Tool to call.  [default: the plugin's only one]")
@click.option(
    "--input",
    metavar="FILE",
    help="File of lines to work through; - is standard input.  [default: standard input where it"
    " is not a terminal; without PLUGIN, a generated text]",
)
@click.option(
    "--output",
    metavar="FILE",
    help="File for the results, replaced if it exists; - is standard output.  [default: -]",
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
@click.option(
    "--memory",
    metavar="SIZE",
    callback=as_size,
    help="Memory that each instance may have: bytes, or with KiB, MiB or GiB.  [default: 256MiB]",
)
@click.option(
    "--max-uses",
    metavar="N",
    type=click.IntRange(min=1),
    help="Calls after which an instance is replaced; 1 gives every call a fresh one."
    "  [default: no limit]",
)
@click.option(
    "--allow-host",
    "allow_hosts",
    metavar="HOST",
    callback=as_hosts,
    multiple=True,
    help="Host that the plugin may ask over HTTP, such as api.example.com or *.example.com; may be"
    " repeated. Its address must be public.  [default: no host]",
)
@click.option(
    "--credential",
    "credentials",
    metavar="KEY=VALUE",
    callback=as_credentials,
    multiple=True,
    help="Credential to configure the plugin with; may be repeated. Other users of the machine can"
    " see command lines: KEY alone takes the value from the environment variable KEY.",
)
@_help
def run(  # noqa: PLR0913 - one parameter for each option
    *,
    plugin: str | None,
    tool: str | None,
    input: str | None,  # noqa: A002 - the option's name
    output: str | None,
    size: int | None,
    tasks: int | None,
    timeout: float | None,
    memory: int | None,
    max_uses: int | None,
    allow_hosts: tuple[str, ...],
    credentials: Mapping[str, str] | None,
) -> int:
    """Call a tool of PLUGIN, a WebAssembly file, once for each line of the input.

    A line that starts with { is a JSON object of arguments. Any other line is plain text:
    {"text": line}. Each result is one line, {"data": ...} with the tool's text or {"error": ...},
    in the order of the input. A bad line fails alone. A table on standard error sums up.

    Without PLUGIN, the embedded example runs, by default its tool word_count. Without --input, it
    works through a generated text; on a terminal, only its first results are shown.

    Exit status: 0 if all went well, 1 if a line failed, 2 for wrong use or an input or output that
    fails, 130 after Ctrl-C, 141 when the reader of the results has gone.
    """
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
        memory=memory,
        max_uses=max_uses,
        allow_hosts=allow_hosts,
        credentials=credentials,
    )
    return trio.run(run_job, job)


@cli.command(add_help_option=False, short_help="Show what a WebAssembly file is.")
@click.argument("plugin")
@_help
def inspect(plugin: str) -> int:
    """Show what PLUGIN, a WebAssembly file, imports and exports, and how it describes itself.

    Each import is marked as provided by this host or not. The last lines say whether the module
    keeps to the contract of plugins, or what is missing.

    Exit status: 0 for a plugin, 1 for a module that is not a plugin, 2 for a file that is not a
    module or for an output that fails, 130 after Ctrl-C, 141 when the reader of the output has
    gone.
    """
    import trio

    from .inspection import inspect_file

    return trio.run(inspect_file, plugin)


@cli.command(add_help_option=False, short_help="Show in ten seconds what a pool is for.")
@_help
def demo() -> int:
    """Make the same 200 calls on one instance behind a lock and on a pool, side by side.

    Most calls wait, some compute, one spins for ever, and in the middle a new version of the
    module is put in service. Where standard output is no terminal, only the times are shown.

    Exit status: 0, or 2 for an output that fails, 130 after Ctrl-C.
    """
    import trio

    from .demo import run_demo

    return trio.run(run_demo)
