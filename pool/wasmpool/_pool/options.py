"""The options of a pool, validated when it is opened."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from math import isnan
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final

import attrs

import wasmpool_host
from wasmpool_host.lowlevel import DrivenModule

from .protocols import Module

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .protocols import Check, Setup

__all__ = ["Options", "QueueOnClose", "check_grace", "check_setup", "check_sizes", "drive"]

QueueOnClose: TypeAlias = Literal["fail", "serve"]

_MOST_SECONDS: Final = int(sys.float_info.max)

_Validator: TypeAlias = "Callable[[Any, attrs.Attribute[Any], Any], None]"


def _whole(knob: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{knob} must be a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"{knob} must be at least {least}, not {value!r}")


def _seconds(knob: str, value: object, *, positive: bool) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{knob} must be a number of seconds, not {value!r}")
    if not isinstance(value, float) and value > _MOST_SECONDS:
        raise ValueError(f"{knob} must be a number of seconds that a float holds, not a larger int")
    if isnan(value) or value < 0 or (positive and value == 0):
        bound = "above 0" if positive else "0 or more"
        raise ValueError(f"{knob} must be {bound} seconds, not {value!r}")


def _number_from(least: int, *, optional: bool) -> _Validator:
    def validate(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not (optional and value is None):
            _whole(attribute.name, value, least)

    return validate


def _time(*, positive: bool, optional: bool) -> _Validator:
    def validate(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not (optional and value is None):
            _seconds(attribute.name, value, positive=positive)

    return validate


def _function(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    _check_function(attribute.name, value)


def _check_function(knob: str, value: object) -> None:
    if value is None:
        return
    if not callable(value):
        raise TypeError(f"{knob} must be a function of an instance or None, not {value!r}")
    if _makes_generators(value):
        raise TypeError(f"{knob} must not yield, as nothing of {value!r} would run: use return")


def _makes_generators(function: Callable[..., object]) -> bool:
    """Return True for a function that yields, unless `types.coroutine` made it awaitable."""
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    return inspect.isasyncgenfunction(function) or (
        inspect.isgeneratorfunction(function) and not flags & inspect.CO_ITERABLE_COROUTINE
    )


def _name(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{attribute.name} must be a str or None, not {value!r}")
    if value == "":
        raise ValueError(f"{attribute.name} must not be empty; None is the module's own name")


def _queue_on_close(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value not in {"fail", "serve"}:
        raise ValueError(f"{attribute.name} must be 'fail' or 'serve', not {value!r}")


def _as_tuple(instruments: object) -> tuple[Any, ...]:
    if isinstance(instruments, str) or not isinstance(instruments, Iterable):
        raise TypeError(f"instruments must be a sequence of instruments, not {instruments!r}")
    return tuple(instruments)


def check_sizes(size: object, min_size: object) -> None:
    """Raise TypeError or ValueError if these cannot be a pool's bounds."""
    _whole("size", size, 1)
    _whole("min_size", min_size, 0)
    if min_size > size:  # type: ignore[operator]  # int, by _whole
        raise ValueError(f"min_size={min_size} must not be above size={size}")


def drive(module: object) -> Module:
    """Return a module in the form in which a pool drives it.

    Raises:
        TypeError: this cannot be a pool's module.
    """
    if isinstance(module, wasmpool_host.Module):
        return DrivenModule(module)
    if isinstance(module, Module):
        return module
    if inspect.iscoroutine(module):
        module.close()
        raise TypeError("a pool takes a compiled module, not a coroutine: `await Module.compile()`")
    raise TypeError(
        f"a pool takes a compiled module, not {module!r}: compile it by `await Module.compile()`"
    )


def check_setup(setup: object) -> None:
    """Raise TypeError if this cannot be a setup."""
    _check_function("setup", setup)


def check_grace(grace: object) -> None:
    """Raise TypeError or ValueError if this cannot be a grace."""
    _seconds("grace", grace, positive=False)


@final
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Options:
    """As `open_pool` documents them."""

    size: int = 8
    min_size: int = 1
    name: str | None = attrs.field(default=None, validator=_name)
    setup: Setup | None = attrs.field(default=None, validator=_function)
    check: Check | None = attrs.field(default=None, validator=_function)
    max_waiting: int | None = attrs.field(default=None, validator=_number_from(0, optional=True))
    max_wait: float | None = attrs.field(
        default=None, validator=_time(positive=False, optional=True)
    )
    max_uses: int | None = attrs.field(default=None, validator=_number_from(1, optional=True))
    max_age: float | None = attrs.field(default=None, validator=_time(positive=True, optional=True))
    max_idle: float | None = attrs.field(
        default=None, validator=_time(positive=True, optional=True)
    )
    max_memory: int | None = attrs.field(default=None, validator=_number_from(0, optional=True))
    start_timeout: float = attrs.field(default=30.0, validator=_time(positive=True, optional=False))
    grace: float = attrs.field(default=30.0, validator=_time(positive=False, optional=False))
    max_generations: int = attrs.field(default=2, validator=_number_from(2, optional=False))
    queue_on_close: QueueOnClose = attrs.field(default="fail", validator=_queue_on_close)
    leak_after: float | None = attrs.field(
        default=60.0, validator=_time(positive=True, optional=True)
    )
    instruments: Sequence[Any] = attrs.field(default=(), converter=_as_tuple)
    of_plugin: bool = False
    """Whether the pool is a plugin's, and has its name; `open_pool` has no such parameter."""

    def __attrs_post_init__(self) -> None:
        check_sizes(self.size, self.min_size)
