"""Functions that a guest imports from its host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, final

import attrs

from wasmpool_host._shown import shown
from wasmpool_host._types import PASSED, FunctionType

from .signature import Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmpool_host._types import PassedType

__all__ = ["HostFunction", "Imported", "host_function"]


class Imported(Protocol):
    """A host function as a guest imports it."""

    @property
    def function(self) -> Callable[..., Any]:
        """The Python function."""
        ...


@final
@attrs.frozen(eq=False)
class HostFunction:
    """A Python function that guests can import, with its name and its type; see `host_function`.

    Calling it calls the function, so it can be tested without a guest.
    """

    module: str
    name: str
    type: FunctionType
    function: Callable[..., Any]
    signature: Signature = attrs.field(init=False, repr=False)
    """Packs its arguments and results."""

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "signature", Signature(self.type, f"host function {self}"))

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


def host_function(
    module: str,
    name: str,
    params: Sequence[PassedType] = (),
    results: Sequence[PassedType] = (),
) -> Callable[[Callable[..., Any]], HostFunction]:
    """Make a function importable by guests, as ``name`` of ``module``.

    The function is ``fn(caller, *args)``, plain or ``async def``. It runs in the trio task that
    called the guest, on the trio thread, with that task's cancel scopes and context variables;
    a plain one holds up the loop while it runs. Integers arrive signed, and may be returned
    signed or unsigned; floats are as for `Instance.call`. What it raises unwinds the guest, poisons
    the instance (``host-error``) and comes out of the call as itself; so does the TypeError or
    ValueError for a result that does not fit its type.

    Args:
        module: the import's module, ``"env"`` for most compilers.
        name: the import's name.
        params: the types of ``args``: ``"i32"``, ``"i64"``, ``"f32"``, ``"f64"`` or ``"v128"`` (16
            bytes) each.
        results: none: return None. One: return the value. Several: return a tuple.

    Raises:
        TypeError: a name is no str, a type is none of these, or what is decorated is no
            function.
        ValueError: a name has no form in UTF-8, so no module can import it.
    """
    _check_name("module", module)
    _check_name("name", name)
    owner = f"{module}.{name}"
    type_: Final = FunctionType(_types(owner, "params", params), _types(owner, "results", results))

    def decorate(function: Callable[..., Any]) -> HostFunction:
        if not callable(function):
            message = f"host function {module}.{name} must be a function, not {function!r}"
            raise TypeError(message)
        return HostFunction(module, name, type_, function)

    return decorate


def _check_name(word: str, text: object) -> None:
    if not isinstance(text, str):
        message = f"host_function({word}) must be a str, not {shown(text)}"
        raise TypeError(message)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = f"host_function({word}) has no form in UTF-8: {shown(text)}"
        raise ValueError(message) from error


def _types(owner: str, word: str, types: object) -> tuple[PassedType, ...]:
    """Return a copy: what is given may be changed later, or be read only once."""
    wrong = types
    if isinstance(types, (tuple, list)):
        others = [each for each in types if not (isinstance(each, str) and each in PASSED)]
        if not others:
            return tuple(types)
        wrong = others[0]
    what = "is no list of them" if wrong is types else "is none of them"
    message = (
        f"host function {owner}: {word} must be a list or a tuple of 'i32', 'i64', 'f32', 'f64' or"
        f" 'v128'; {shown(wrong)} {what}"
    )
    raise TypeError(message)
