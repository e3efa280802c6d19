"""The error of a command that cannot be carried out."""

from __future__ import annotations

import click

from .standard_streams import FAILED

__all__ = ["WrongUse"]


class WrongUse(click.ClickException):
    """The command cannot be carried out; no output has been touched."""

    exit_code = FAILED
