"""The options of ``wasmpool run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from wasmpool.example import PATH as EXAMPLE

from .shown import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RunOptions"]


@attrs.frozen(kw_only=True)
class RunOptions:
    """The options as they were given, with the defaults that do not need the plugin."""

    plugin: str | None
    """The file of a plugin or a program; None for the example."""
    tool: str | None
    input: str | None
    output: str | None
    size: int
    tasks: int
    timeout: float | None
    """The longest time of a call, in seconds."""
    allow_hosts: tuple[str, ...] = ()
    """The hosts that the plugin can reach over HTTP."""
    credentials: Mapping[str, str] | None = None
    max_uses: int | None = None
    """Calls after which an instance is replaced."""
    pristine: bool = False
    """True if each call has an instance that no other call has used."""
    args: tuple[str, ...] = ()
    """The arguments of a program, without its name."""
    memory: int | None = None
    """The most bytes of linear memory of an instance."""
    processes: int | None = None
    """How many processes answer lines; None is this one."""
    threads: int | None = None
    """How many threads do so; None is one. Not together with processes."""
    dask: str | None = None
    """The address of a cluster whose workers answer lines."""
    resume: str | None = None
    """The output with the results of an earlier run."""
    errors: str | None = None
    """The file for the results of lines that failed."""
    numbered: bool = False
    """True if each result has the number of its line."""
    retries: int = 0
    """How often a line is tried again that failed for a reason of the world."""

    @property
    def path(self) -> Path:
        """The plugin's file."""
        return EXAMPLE if self.plugin is None else Path(self.plugin)

    @property
    def plugin_name(self) -> str:
        """The plugin's file, for error messages."""
        return shown(str(EXAMPLE) if self.plugin is None else self.plugin)

    @property
    def reads_sample(self) -> bool:
        """True if the input is the generated text."""
        return self.plugin is None and self.input is None
