"""The options of ``wasmpool exec``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from .shown import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .option_values import Directory

__all__ = ["ExecOptions"]


@attrs.frozen(kw_only=True)
class ExecOptions:
    """The options as they were given."""

    program: str
    args: tuple[str, ...] = ()
    """The program's arguments, without its name."""
    directories: Mapping[str, Directory] = attrs.field(factory=dict[str, "Directory"])
    """By the path that the program sees."""
    env: Mapping[str, str] = attrs.field(factory=dict[str, str])
    timeout: float | None = None
    """The longest time of the run, in seconds."""
    memory: int | None = None
    """The most bytes of linear memory."""
    stack: int | None = None
    """The most bytes of stack."""
    cache: str | None = None
    """The directory for compiled code."""

    @property
    def path(self) -> Path:
        """The program's file."""
        return Path(self.program)

    @property
    def name(self) -> str:
        """The program's file, for error messages."""
        return shown(self.program)
