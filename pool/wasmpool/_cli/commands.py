"""The commands and their options. Other modules are imported when a command runs: fast help."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import click

from .option_values import (
    as_args,
    as_cluster,
    as_credentials,
    as_directories,
    as_env,
    as_hosts,
    as_size,
)
from .standard_streams import FAILED, write_error, write_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .option_values import Directory

__all__ = ["cli"]

TASKS_PER_INSTANCE = 4
"""Enough to keep each instance busy while lines are read and written."""


def _show_help(context: click.Context, _option: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's form
    if wanted and not context.resilient_parsing:
        write_out(f"{context.get_help()}\n")
        context.exit()


def _show_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's form
    if wanted and not context.resilient_parsing:
        write_out(f"wasmpool, version {version('wasmpool')}\n")
        context.exit()


def _eager(*names: str, callback: Any, text: str) -> Callable[[Any], Any]:
    # Click's own options write through a buffer, and report a failure too late.
    return click.option(
        *names, is_flag=True, expose_value=False, is_eager=True, callback=callback, help=text
    )


def _timeout(text: str) -> Callable[[Any], Any]:
    seconds = click.FloatRange(min=0, min_open=True)
    return click.option("--timeout", metavar="SECONDS", type=seconds, help=text)


def _memory(text: str) -> Callable[[Any], Any]:
    return click.option("--memory", metavar="SIZE", callback=as_size, help=text)


_help = _eager("-h", "--help", callback=_show_help, text="Show this message and exit.")
_version = _eager("--version", callback=_show_version, text="Show the version and exit.")


@click.group(
    invoke_without_command=True, subcommand_metavar="COMMAND [ARGS]...", add_help_option=False
)
@_version
@_help
@click.pass_context
def cli(context: click.Context) -> int:
    """Run WebAssembly plugins and programs in isolated instances."""
    if context.invoked_subcommand is None:
        write_error(f"{context.get_help()}\n")
    return FAILED  # only without a command; a command returns its own status


@cli.command(add_help_option=False, short_help="Call a plugin's tool for each line of a file.")
@click.argument("plugin", required=False)
@click.argument("args", nargs=-1, metavar="[-- ARG...]", callback=as_args)
@click.option("--tool", metavar="NAME", help="The tool to call.  [default: the plugin's only tool]")
@click.option(
    "--input",
    metavar="FILE",
    help="The file with the input lines; - is standard input.  [default: standard input, if it is"
    " not a terminal; without PLUGIN, a generated text]",
)
@click.option(
    "--output",
    metavar="FILE",
    help="The file for the results, replaced if it exists; - is standard output.  [default: -]",
)
@click.option(
    "--size",
    metavar="N",
    type=click.IntRange(min=1),
    help="The maximum number of instances.  [default: one per CPU]",
)
@click.option(
    "--tasks",
    metavar="M",
    type=click.IntRange(min=1),
    help="The maximum number of calls at the same time."
    f"  [default: {TASKS_PER_INSTANCE} per instance]",
)
@_timeout(
    "The maximum time of a call; a longer call is ended, and its line fails.  [default: none]"
)
@_memory("The maximum memory of each instance: bytes, or with KiB, MiB or GiB.  [default: 256MiB]")
@click.option(
    "--max-uses",
    metavar="N",
    type=click.IntRange(min=1),
    help="Replace an instance after N calls; 1 gives every call a new instance."
    "  [default: no limit]",
)
@click.option(
    "--pristine",
    is_flag=True,
    help="Give every call an instance that no other call has used. It is made from a snapshot,"
    " which takes less time than --max-uses 1.",
)
@click.option(
    "--allow-host",
    "allow_hosts",
    metavar="HOST",
    callback=as_hosts,
    multiple=True,
    help="A host that the plugin can reach over HTTP, such as api.example.com or *.example.com; may"
    " be repeated. Its address must be public.  [default: no host]",
)
@click.option(
    "--credential",
    "credentials",
    metavar="KEY=VALUE",
    callback=as_credentials,
    multiple=True,
    help="A credential for the plugin; may be repeated. KEY alone takes the value from the"
    " environment variable KEY. Other users of the machine can see the command line.",
)
@click.option(
    "--processes",
    metavar="N",
    type=click.IntRange(min=0, max=256),
    help="Answer the lines in N processes; 0 is one per CPU. --size and --tasks are for each of"
    " them.  [default: in the command itself]",
)
@click.option(
    "--threads",
    metavar="N",
    type=click.IntRange(min=0, max=256),
    help="Answer the lines in N threads, in a free-threaded Python, where it is as fast as"
    " --processes and takes less memory; 0 is one per CPU.  [default: in the one that there is]",
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    callback=as_cluster,
    help="Have the workers of a Dask cluster answer the lines: HOST:PORT of its scheduler, or local"
    " for a cluster on this machine, local:N with N workers. --size (1 by default) and --tasks are"
    " for each thread of a worker.  [default: no cluster]",
)
@click.option(
    "--retries",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    help="Try a line again, up to N times, that failed for a reason of the world: a timeout, no"
    " room for an instance, a process that was killed.  [default: 0]",
)
@click.option(
    "--resume",
    metavar="FILE",
    help="The file for the results, which goes on where an earlier run with the same options has"
    " ended. Beside it is FILE.resume, which says of what input they are. Instead of --output.",
)
@click.option(
    "--errors",
    metavar="FILE",
    help="A file that gets the results of the lines that failed, with the lines' numbers."
    "  [default: none]",
)
@click.option(
    "--number", "numbered", is_flag=True, help="Begin each result with its line's number."
)
@_help
def run(  # noqa: PLR0913 - one parameter for each option
    *,
    plugin: str | None,
    args: tuple[str, ...],
    tool: str | None,
    input: str | None,  # noqa: A002 - the option's name
    output: str | None,
    size: int | None,
    tasks: int | None,
    timeout: float | None,
    memory: int | None,
    max_uses: int | None,
    pristine: bool,
    allow_hosts: tuple[str, ...],
    credentials: Mapping[str, str] | None,
    processes: int | None,
    threads: int | None,
    dask: str | None,
    retries: int,
    resume: str | None,
    errors: str | None,
    numbered: bool,
) -> int:
    """Call a tool of PLUGIN, a WebAssembly file, once for each line of the input.

    A line that starts with { is a JSON object of arguments. Any other line is plain text:
    {"text": line}. Each result is one line, in the order of the input: {"data": ...} with the
    tool's text, or {"error": ...}. A line that fails does not stop the run. At the end, a table on
    standard error shows the totals.

    PLUGIN may also be a program for WASI: each line, its ending included, is the standard input of
    one run in a new instance, and {"data": ...} has what it printed. What follows -- are its
    arguments.

    PLUGIN may also be an Extism plugin, or its manifest, a file that ends with .json or .toml: its
    exports are tools, and each line is the input of one call, as it stands.

    Without PLUGIN, the included example plugin runs, by default with its tool word_count. If there
    is no --input either, its input is a generated text; a terminal shows only the first results.

    Exit status: 0 if all lines succeeded, 1 if a line failed, 2 for a wrong option or a failed
    input or output, 130 after Ctrl-C, 141 if the reader of the results has closed the pipe.
    """
    import trio

    from .run_command import run_lines
    from .run_options import RunOptions

    if resume is not None and output is not None:
        raise click.UsageError("--resume FILE is the output: leave out --output")
    if pristine and max_uses is not None:
        raise click.UsageError("--pristine and --max-uses exclude each other: give one of them")
    ways = {"--processes": processes, "--threads": threads, "--dask": dask}
    given = [option for option, value in ways.items() if value is not None]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} exclude each other: give one of them")
    cpus = len(os.sched_getaffinity(0))
    processes = cpus if processes == 0 else processes
    threads = cpus if threads == 0 else threads
    size = size or (1 if dask is not None else -(-cpus // (processes or threads or 1)))
    options = RunOptions(
        plugin=plugin,
        args=args,
        tool=tool,
        input=input,
        output=output,
        size=size,
        tasks=tasks or TASKS_PER_INSTANCE * size,
        timeout=timeout,
        memory=memory,
        max_uses=max_uses,
        pristine=pristine,
        allow_hosts=allow_hosts,
        credentials=credentials,
        processes=processes,
        threads=threads,
        dask=dask,
        retries=retries,
        resume=resume,
        errors=errors,
        numbered=numbered,
    )
    return trio.run(run_lines, options)


@cli.command(
    "exec",
    add_help_option=False,
    short_help="Run a program for WASI once.",
    context_settings={"allow_interspersed_args": False},
)
@click.argument("program")
@click.argument("args", nargs=-1, type=click.UNPROCESSED, metavar="[ARG]...", callback=as_args)
@click.option(
    "--dir",
    "directories",
    metavar="HOST[:GUEST][:rw]",
    callback=as_directories,
    multiple=True,
    help="A directory that the program can use, and its name there; may be repeated. It is"
    " read-only unless :rw is given.  [default: no directory]",
)
@click.option(
    "--env",
    metavar="KEY=VALUE",
    callback=as_env,
    multiple=True,
    help="A variable of the program's environment; may be repeated. KEY alone takes the value from"
    " this command's environment.  [default: none]",
)
@_timeout("The maximum time of the run, with all its waiting.  [default: none]")
@_memory("The maximum memory of the program: bytes, or with KiB, MiB or GiB.  [default: 256MiB]")
@click.option(
    "--stack",
    metavar="SIZE",
    callback=as_size,
    help="The maximum stack of the program, up to 16MiB; interpreters need more than others."
    "  [default: 512KiB]",
)
@click.option(
    "--cache",
    metavar="DIRECTORY",
    help="Where compiled code is kept, so that the next run starts sooner. Nobody else may be able"
    " to write there: its files are run.  [default: none]",
)
@_help
def exec_(  # noqa: PLR0913 - one parameter for each option
    *,
    program: str,
    args: tuple[str, ...],
    directories: Mapping[str, Directory],
    env: Mapping[str, str],
    timeout: float | None,
    memory: int | None,
    stack: int | None,
    cache: str | None,
) -> int:
    """Run PROGRAM, a WebAssembly file for WASI, with the standard streams of this command.

    Options come before PROGRAM; all that follows it is the program's, also what looks like an
    option. The program can use no file, no network and no variable unless an option gives it one.

    Exit status: the program's; 134 if it traps, 2 if it cannot be run or takes longer than
    --timeout, and for a failed output, 130 after Ctrl-C, 141 if the reader of the output has closed
    the pipe.
    """
    import trio

    from .exec_command import exec_program
    from .exec_options import ExecOptions

    options = ExecOptions(
        program=program,
        args=args,
        directories=directories,
        env=env,
        timeout=timeout,
        memory=memory,
        stack=stack,
        cache=cache,
    )
    return trio.run(exec_program, options)


@cli.command(
    add_help_option=False, short_help="Show what a WebAssembly file imports, exports and offers."
)
@click.argument("plugin")
@_help
def inspect(plugin: str) -> int:
    """Show what PLUGIN, a WebAssembly file, imports and exports, and how it describes itself.

    Each import is marked as provided by this host or not. The last lines say if the module is a
    plugin, an Extism plugin or a program, and if not, what is missing. PLUGIN may also be the
    manifest of an Extism plugin.

    Exit status: 0 for a plugin, 1 for a program or another module, 2 for a file that is neither a
    module nor a manifest, or for a failed output, 130 after Ctrl-C, 141 if the reader of the output
    has closed the pipe.
    """
    import trio

    from .inspect_command import inspect_file

    return trio.run(inspect_file, plugin)


@cli.command(add_help_option=False, short_help="Show in ten seconds what a pool is for.")
@_help
def demo() -> int:
    """Make the same 200 calls on one instance behind a lock and on a pool, side by side.

    Most calls wait, some compute, and one never ends. In the middle of the run, a new version of
    the module is loaded. If standard output is not a terminal, only the times are shown.

    Exit status: 0, 2 for a failed output, 130 after Ctrl-C.
    """
    import trio

    from .demo import run_demo

    return trio.run(run_demo)


@cli.command(add_help_option=False, short_help="Serve plugins as tools to agents, over MCP.")
@click.argument("paths", nargs=-1, metavar="[PLUGIN | DIRECTORY]...")
@click.option(
    "--config",
    metavar="FILE.toml",
    help="A file that says what each plugin may do, and how they are served. An option here"
    " overrides the file's value.  [default: none]",
)
@click.option(
    "--http",
    metavar="HOST:PORT",
    help="Serve over HTTP at this address, at /mcp. An address that other machines can reach needs"
    " a token, in the file.  [default: standard input and output]",
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(min=1, max=256),
    help="Processes that serve one address.  [default: 1]",
)
@click.option(
    "--threads",
    metavar="N",
    type=click.IntRange(min=1, max=256),
    help="Threads of one process that serve one address, in a free-threaded Python.  [default: 1]",
)
@click.option(
    "--tools",
    type=click.Choice(["plain", "search"]),
    help="List each tool, or only two: one that finds tools, and one that calls them."
    "  [default: plain]",
)
@click.option(
    "--scripts",
    is_flag=True,
    help="Let clients send Python that calls tools. It runs in an instance of its own.",
)
@_help
def serve(  # noqa: PLR0913 - one parameter for each option
    *,
    paths: tuple[str, ...],
    config: str | None,
    http: str | None,
    workers: int | None,
    threads: int | None,
    tools: Literal["plain", "search"] | None,
    scripts: bool,
) -> int:
    """Serve the tools of plugins by the Model Context Protocol (MCP).

    Each PLUGIN is a WebAssembly file, or the manifest of an Extism plugin; each .wasm file of a
    DIRECTORY is a plugin, too. They are loaded again when they change. A plugin reaches no host
    unless the file of --config allows it. Without any, the included example plugin is served.

    SIGTERM and Ctrl-C refuse new calls and let those under way finish; a second one ends at once.
    SIGHUP reads the file again. With --http, there are also /healthz, /readyz and /metrics, and a
    page at /.

    Exit status: 0 after a signal, or when the client has ended the input; 2 for a wrong option, a
    wrong file, or an address that cannot be had; 130 or 143 after a second signal.
    """
    from .serve_command import arguments_of, run_server

    return run_server(
        arguments_of(
            paths=paths,
            config=config,
            http=http,
            workers=workers,
            threads=threads,
            tools=tools,
            scripts=scripts,
        )
    )
