"""The error for a command that cannot be carried out."""

from __future__ import annotations

import click

from .standard import FAILED

__all__ = ["WrongUse"]


class WrongUse(click.ClickException):
    """The command asks for what cannot be done; no output has been touched."""

    exit_code = FAILED
