"""A component's function, ready to pass values to it and to take them from it."""

from __future__ import annotations

import struct
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

from wasmpool_host import _capi_component as capi
from wasmpool_host import _wit
from wasmpool_host._escape import escaped
from wasmpool_host._shown import shown

from .lifting import LETTERS, Incoming, lift_of
from .lowering import INTEGERS, lower_of
from .misfit import Misfit
from .outgoing import OF, VALUE, Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmpool_host._capi_component import ComponentStore

__all__ = ["ComponentSignature", "blank_values"]

_Places: TypeAlias = "tuple[tuple[Callable[..., None], int], ...]"


@final
class ComponentSignature:
    """Parameters and result of one function.

    Attributes:
        type: the function's.
        size: bytes of its arguments, as values of the C API.
        numbers: where the arguments are all integers, how and where to write each, else None. Most
            calls of such functions need nothing else.
        owns_memory: True if the result has memory that must be freed.
        take_number: reads a result that is a number, in a tuple; None for other results.
    """

    __slots__ = (
        "_lift", "_lift_params", "_lower", "_lower_params", "_names", "numbers", "owns_memory",
        "size", "take_number", "type",
    )  # fmt: skip

    def __init__(
        self, type_: _wit.WitFunction, label: str, passed: _wit.WitFunction | None = None
    ) -> None:
        """Prepare for the values of one function.

        Args:
            type_: the function's type.
            label: names the function in messages.
            passed: the type by which its values are passed, if that is another one (`paired`).

        Raises:
            TypeError: the function has a type that cannot be passed, or is asynchronous.
        """
        if type_.waits:
            raise TypeError(f"{label} is an async func, which wasmpool does not support")
        self.type: _wit.WitFunction = type_
        passed = passed or type_
        types = [each for _, each in passed.params]
        self._names = [name for name, _ in type_.params]
        try:
            self._lower_params = [lower_of(each) for each in types]
            self._lift_params = [lift_of(each) for each in types]
            self._lower = None if passed.result is None else lower_of(passed.result)
            self._lift = None if passed.result is None else lift_of(passed.result)
        except TypeError as error:
            raise TypeError(f"{label} is {_wit.in_message(type_)}: {error}") from None
        self.size: int = len(types) * VALUE
        self.numbers: _Places | None = _numbers(types)
        self.owns_memory: bool = type_.result is not None and _owns_memory(type_.result)

        self.take_number: Callable[[bytearray], tuple[Any, ...]] | None = _number(type_.result)

    @property
    def count(self) -> int:
        """How many arguments it takes."""
        return len(self._names)

    def lower(self, args: Sequence[Any], label: str, store: ComponentStore) -> Outgoing:
        """Write the arguments of a call.

        Raises:
            TypeError: an argument does not fit; the message has the way to what is wrong.
        """
        out = Outgoing(len(self._names), store)
        if len(args) != len(self._names):
            raise self._miscounted(args, label)
        k = 0
        try:
            for k, (value, lower) in enumerate(zip(args, self._lower_params, strict=True)):
                lower(out, k * VALUE, value)
        except Misfit as misfit:
            raise self._wrong(k, misfit, label) from None
        return out

    def _wrong(self, k: int, misfit: Misfit, label: str) -> TypeError:
        owner = f"argument {escaped(self._names[k])!r}"
        return TypeError(f"{misfit.message(owner)} (in a call of {label})")

    def _miscounted(self, args: Sequence[Any], label: str) -> TypeError:
        count = len(self._names)
        wanted = f"{count} argument{'' if count == 1 else 's'}"
        params = ", ".join(
            f"{escaped(name)}: {_wit.in_message(type_)}" for name, type_ in self.type.params
        )
        return TypeError(f"{label} takes {wanted} ({params}), not {len(args)}")

    def put_numbers(self, buffer: bytearray, args: Sequence[Any]) -> bool:
        """Write arguments that are integers; return False if any of them needs `lower`."""
        numbers = self.numbers
        if numbers is None or len(args) != len(numbers):
            return False
        try:
            if len(numbers) == 2:  # written out: a loop would cost more than the rest of this
                (put, at), (put_second, second_at) = numbers
                put(buffer, at, args[0])
                put_second(buffer, second_at, args[1])
            else:
                for (put, at), value in zip(numbers, args, strict=True):
                    put(buffer, at, value)
        except struct.error:
            return False
        return True

    def lift_result(self, content: bytes, source: Incoming) -> Any:
        """Read the result of a call."""
        return None if self._lift is None else self._lift(content, 0, source)

    def lift_args(self, content: bytes, source: Incoming) -> tuple[Any, ...]:
        """Read the arguments of a host call."""
        return tuple([lift(content, k * VALUE, source) for k, lift in enumerate(self._lift_params)])

    def lower_result(self, value: Any, label: str, store: ComponentStore) -> Outgoing | None:
        """Write what a host function has returned; None if it has no result.

        Raises:
            TypeError: it does not fit.
        """
        if self._lower is None:
            if value is not None:
                raise TypeError(f"{label} has no result: return None, not {shown(value)}")
            return None
        out = Outgoing(1, store)
        try:
            self._lower(out, 0, value)
        except Misfit as misfit:
            raise TypeError(misfit.message(f"the result of {label}")) from None
        return out


def _numbers(types: Sequence[_wit.WitType]) -> _Places | None:
    places = []
    for k, type_ in enumerate(types):
        if not isinstance(type_, _wit.Primitive) or type_.name not in INTEGERS:
            return None
        places.append((Struct(f"<{INTEGERS[type_.name][0]}").pack_into, k * VALUE + OF))
    return tuple(places)


def _number(type_: _wit.WitType | None) -> Callable[[bytearray], tuple[Any, ...]] | None:
    if not isinstance(type_, _wit.Primitive) or type_.name not in LETTERS:
        return None
    return Struct(f"<{OF}x{LETTERS[type_.name]}").unpack_from


def blank_values(types: Sequence[_wit.WitType]) -> bytes:
    """Return zeros of these types, which are integers."""
    return b"".join(bytes((capi.KINDS[str(type_)],)).ljust(VALUE, b"\0") for type_ in types)


_WITHOUT_MEMORY: Final = frozenset(_wit.PRIMITIVES) - {"string"}


def _owns_memory(type_: _wit.WitType) -> bool:
    return not (isinstance(type_, _wit.Primitive) and type_.name in _WITHOUT_MEMORY)
