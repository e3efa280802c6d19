"""The program of a run: each line is the standard input of one run, in a new instance."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, final

import attrs

from wasmpool import GuestExit, GuestTrap, Pool, PoolUnavailable, open_pool

from .limits import limits_of
from .program_module import all_args, compile_program
from .rows import LONGEST_LINE, BadLine, as_text, check_length
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from wasmpool._lines import Line
    from wasmpool_host.lowlevel import Source

    from .run_options import RunOptions

__all__ = ["Program", "open_run_program"]

MEANINGLESS: Final = {
    "tool": "--tool: {} is a program, which has no tools",
    "max_uses": "--max-uses: {} is a program, which gets a new instance for each line",
    "allow_hosts": "--allow-host: {} is a program, which can reach no host",
    "credentials": "--credential: {} is a program, which takes no credentials",
}
"""What the options of a plugin would mean for a program."""

_log = logging.getLogger("wasmpool.guest.stderr")


@final
@attrs.frozen
class Output:
    """What a run printed, or how it failed."""

    data: str
    is_error: bool = False


@final
@attrs.frozen
class Program:
    """A program on a pool."""

    pool: Pool
    args: tuple[str, ...]

    @property
    def title(self) -> str:
        """What runs."""
        return self.args[0]

    async def answer(self, line: Line, /) -> Output:
        """Run the program with the line, its ending included, as standard input.

        Raises:
            BadLine: the line is too long, or the output is too long or not UTF-8.
            WasmpoolError: there was no instance, or the run took too long.
        """
        check_length(line)
        stdin = line.content + line.ending
        try:
            done = await self.pool.run(
                self.args, stdin=stdin, capture_limit=LONGEST_LINE, check=True
            )
        except (GuestExit, GuestTrap) as error:
            # A note has the last lines of standard error: there the program says what it was.
            return Output("\n".join([str(error), *getattr(error, "__notes__", ())]), is_error=True)
        if done.stderr:
            _log.warning("%s", done.stderr.decode(errors="backslashreplace"))
        if "stdout" in done.truncated:
            raise BadLine(f"the output is too long: above the limit of {LONGEST_LINE} bytes")
        return Output(as_text(done.stdout, "the output"))


async def open_run_program(stack: AsyncExitStack, options: RunOptions, source: Source) -> Program:
    """Open the program, until the stack is closed.

    Raises:
        WrongUse: it cannot be run here, or an option means nothing for it.
    """
    name = options.plugin_name
    for option, sentence in MEANINGLESS.items():
        if getattr(options, option):
            raise WrongUse(sentence.format(name))
    limits = limits_of(timeout=options.timeout, memory=options.memory)
    module = await compile_program(source, name, limits)
    try:
        pool = await stack.enter_async_context(open_pool(module, size=options.size))
    except PoolUnavailable as error:  # users of the command do not know of the pool
        raise WrongUse(f"{name} cannot be run: {error.__cause__ or error}") from error
    return Program(pool, all_args(options.path, options.args))
