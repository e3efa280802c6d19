"""The contract of plugins, ABI version 1: the exports that a plugin has, with their types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmpool_host import FunctionType, MemoryType

from .errors import AbiError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "ABI_VERSION",
    "FREE",
    "MALLOC",
    "OPTIONAL",
    "REQUIRED",
    "check_abi_version",
    "check_exports",
    "violations",
]

ABI_VERSION: Final = 1

_TELLS: Final = FunctionType((), ("i64",))
_ANSWERS: Final = FunctionType(("i64",), ("i64",))

REQUIRED: Final[Mapping[str, FunctionType]] = {
    "name": _TELLS,
    "metadata": _TELLS,
    "tools": _TELLS,
    "configure": _ANSWERS,
    "execute": _ANSWERS,
    "healthy": FunctionType((), ("i32",)),
}
OPTIONAL: Final[Mapping[str, FunctionType]] = {"compact_specs": _TELLS}
MALLOC: Final = ("malloc", "guest_malloc")
"""Two names of the same function, which allocates guest memory for a payload."""
FREE: Final = ("free", "guest_free")
"""Two names of the same function, which frees guest memory."""

_ALLOCATES: Final = FunctionType(("i32",), ("i32",))
_FREES: Final = FunctionType(("i32",), ())


def check_exports(exports: Mapping[str, object], owner: str | None = None) -> None:
    """Refuse a module that does not fulfil the contract.

    Raises:
        AbiError: the message lists each wrong or missing export, in order, and then the owner.
    """
    found = [why for _, why in violations(exports)]
    if not found:
        return
    raise AbiError("; ".join(found) + (f" ({owner})" if owner is not None else ""))


def violations(exports: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Return each export that is missing or of the wrong type, with what is wrong, in order.

    Every call of a plugin needs these exports, so a plugin without one could serve no call.
    """
    for name, wanted in _TYPES.items():
        found = exports.get(name)
        if found is None:
            if name in REQUIRED:
                yield name, f"{name} {wanted} is missing"
        elif found != wanted:
            yield name, _of_wrong_type(name, found, wanted)
    yield from _memory_violations(exports)
    yield from _either_violations(exports, MALLOC, _ALLOCATES, required=True)
    yield from _either_violations(exports, FREE, _FREES, required=False)


def _memory_violations(exports: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    found = exports.get("memory")
    if found is None:
        yield "memory", "memory is missing"
    elif not isinstance(found, MemoryType):
        yield "memory", f"memory is of the wrong type, {found} instead of a memory"


def _either_violations(
    exports: Mapping[str, object], names: tuple[str, str], wanted: FunctionType, *, required: bool
) -> Iterator[tuple[str, str]]:
    """Check a function that has two names: one export of the right type is enough."""
    if any(exports.get(name) == wanted for name in names):
        return
    wrong = [name for name in names if name in exports]
    for name in wrong:
        yield name, _of_wrong_type(name, exports[name], wanted)
    if required and not wrong:
        name, other = names
        yield name, f"{name} {wanted} is missing ({other} would do)"


def _of_wrong_type(name: str, found: object, wanted: FunctionType) -> str:
    return f"{name} is of the wrong type, {found} instead of {wanted}"


_TYPES: Final = {**REQUIRED, **OPTIONAL}


def check_abi_version(version: int | None) -> None:
    """Refuse a plugin of another version of the contract.

    Raises:
        AbiError: the message names both versions.
    """
    if version is None:
        message = f'metadata does not say its ABI version: it needs "abi_version": {ABI_VERSION}'
        raise AbiError(message)
    if version != ABI_VERSION:
        message = (
            f"ABI version {version} of the plugin is not supported: this host has {ABI_VERSION}"
        )
        raise AbiError(message)
