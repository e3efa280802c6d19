"""The check of a call's arguments against the schema of its tool.

The schema comes from the plugin, and the arguments from a client; neither is trusted. So a check
takes a bounded number of steps. What is left then is for the plugin to check, which has to do so in
any case: the check is there for better messages. For the same reason keywords are left out that
take longer than one step: patterns, which may backtrack for ever, comparisons of all items with
each other, and what depends on the results of other keywords. Nothing is fetched for a ``$ref``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from wasmpool_host.lowlevel import escaped

from .suggestion import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jsonschema.protocols import Validator

    from wasmpool._plugin.metadata import Tool

__all__ = ["ArgumentCheck"]

_STEPS: Final = 1_000
"""Keywords of one check: some 5 ms."""
_MOST_ERRORS: Final = 20
"""Of which the best is reported."""
_SHOWN: Final = 200
"""Characters of a message, and of a name in it."""
_BYTES_OF_STEP: Final = 1_000
"""Characters of an error's message, which quotes the value, that are made in the time of a step."""
_LEFT_OUT: Final = (
    "pattern",
    "patternProperties",
    "format",
    "uniqueItems",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
)
_VISITORS: Final = ("additionalProperties", "contains", "items", "propertyNames")
"""Keywords that visit each part of a value."""


class _StepsUsedUp(Exception):
    """The check has taken all its steps."""


@final
class _Steps:
    """The steps that a check has left."""

    def __init__(self) -> None:
        self.left = _STEPS

    def take(self, count: int = 1) -> None:
        """Take one step, or some."""
        self.left -= count
        if self.left < 0:
            raise _StepsUsedUp


def _counted(keyword: Callable[..., Any]) -> Callable[..., Iterator[ValidationError]]:
    """A keyword's check that counts."""

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        steps: _Steps = validator.format_checker
        steps.take()
        for error in keyword(validator, value, instance, schema) or ():
            size = len(error.message)
            error.message = _cut(error.message)
            yield error
            steps.take(size // _BYTES_OF_STEP)

    return check


def _visiting(name: str, keyword: Callable[..., Any]) -> Callable[..., Any]:
    """The check of one of `_VISITORS`, of which each visit is a step."""

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        steps: _Steps = validator.format_checker
        if name == "additionalProperties" and "patternProperties" in schema:
            return  # it would search by the patterns
        if name == "items" and type(instance) is list:
            instance = instance[: max(0, steps.left) + 1]  # so a wrong one at the start is found
            yield from keyword(validator, value, instance, schema) or ()
            steps.take(len(instance))
        else:
            steps.take(len(instance) if type(instance) in (dict, list) else 0)
            yield from keyword(validator, value, instance, schema) or ()

    return check


_KEYWORDS: Final[Mapping[str, Callable[..., Any]]] = {
    **Draft202012Validator.VALIDATORS,
    **{name: _visiting(name, Draft202012Validator.VALIDATORS[name]) for name in _VISITORS},
    **dict.fromkeys(_LEFT_OUT, lambda *_: ()),
}
# The validator passes nothing on to those that it makes for the parts of a schema but its format
# checker. No format is checked here, so the steps are in its place.
_Validator: Final[Any] = extend(
    Draft202012Validator, {name: _counted(keyword) for name, keyword in _KEYWORDS.items()}
)


@final
class ArgumentCheck:
    """Says what is wrong with the arguments of a tool."""

    def __init__(self, tool: Tool) -> None:
        self._schema: Final = tool.input_schema
        self._known: Final[Mapping[str, Any]] = self._schema.get("properties", {})
        self._required: Final = tool.required

    def problem(self, arguments: Mapping[str, Any]) -> str | None:
        """Return what is wrong with some arguments, as a sentence; None if nothing is."""
        for name in arguments:
            if name not in self._known:
                return self._unknown(name)
        missing = [name for name in self._required if name not in arguments]
        if missing:
            return f"the argument {_shown(missing[0])} is missing"
        return self._of_schema(arguments)

    def _unknown(self, name: str) -> str:
        known = ", ".join(map(_shown, list(self._known)[:20])) or "none"
        return (
            f"there is no argument {_shown(name)}{did_you_mean(name, self._known)}; "
            f"the tool takes: {known}"
        )

    def _of_schema(self, arguments: Mapping[str, Any]) -> str | None:
        validator: Validator = _Validator(
            self._schema, registry=Registry(), format_checker=_Steps()
        )
        found: list[ValidationError] = []
        try:
            for error in validator.iter_errors(arguments):
                found.append(error)
                if len(found) >= _MOST_ERRORS:
                    break
        except (_StepsUsedUp, RecursionError, Unresolvable):
            pass
        except (ArithmeticError, ValueError):  # of a number that is too large for the check
            pass
        return _sentence(best_match(found)) if found else None


def _sentence(error: ValidationError | None) -> str:
    assert error is not None
    name, *inside = error.absolute_path
    path = _shown(str(name)) + "".join(
        f"[{part}]" if isinstance(part, int) else f".{_cut(str(part))}" for part in inside
    )
    return f"the argument {path} is wrong: {error.message}"


def _shown(name: str) -> str:
    return repr(_cut(name))


def _cut(text: str) -> str:
    return escaped(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
