"""A value of Python that does not fit the type that a component has for it."""

from __future__ import annotations

from typing import final

__all__ = ["Misfit"]


@final
class Misfit(Exception):
    """Why a value does not fit, and the way to it: of fields, items and cases, from outside in.

    It becomes a TypeError where the function's name and the argument's are known.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why: str = why
        self._way: list[str] = []

    def inside(self, step: str) -> Misfit:
        """Note what the value is inside of; return self."""
        self._way.insert(0, step)
        return self

    def message(self, owner: str) -> str:
        """The message: ``owner``, such as ``argument 'a' of f``, then the way, then why."""
        text = owner
        for step in self._way:
            text += step if step.startswith("[") else f": {step}"
        return f"{text}: {self.why}"
