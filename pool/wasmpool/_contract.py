"""The contract that plugins are compiled against (ABI version 1): which exports of which types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmpool_host import FunctionType

from ._plugin_errors import AbiError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "ABI_VERSION",
    "MALLOC",
    "OPTIONAL",
    "REQUIRED",
    "check_abi_version",
    "check_exports",
    "violations",
    "without_malloc",
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
"""What a request is put into the guest by."""

_ALLOCATES: Final = FunctionType(("i32",), ("i32",))


def check_exports(exports: Mapping[str, object]) -> None:
    """Refuse a module that does not keep to the contract.

    Raises:
        AbiError: one that names the first export in question first, and then the others.
    """
    found = [why for _, why in violations(exports)]
    if not found:
        return
    raise AbiError("; ".join(found))


def violations(exports: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Each export that is missing or of the wrong type, with what is wrong, in order."""
    for name, wanted in _TYPES.items():
        found = exports.get(name)
        if found is None:
            if name in REQUIRED:
                yield name, f"{name} {wanted} is missing"
        elif found != wanted:
            yield name, _of_wrong_type(name, found, wanted)


def without_malloc(exports: Mapping[str, object]) -> Iterator[str]:
    """What is wrong with a plugin that no request can be put into.

    The contract lets it load, and it can tell its name and tools; `execute` and `configure` are
    refused with a LinkError.
    """
    if any(exports.get(name) == _ALLOCATES for name in MALLOC):
        return
    wrong = [name for name in MALLOC if name in exports]
    for name in wrong:
        yield _of_wrong_type(name, exports[name], _ALLOCATES)
    if not wrong:
        name, other = MALLOC
        yield f"{name} {_ALLOCATES} is missing ({other} would do)"


def _of_wrong_type(name: str, found: object, wanted: FunctionType) -> str:
    return f"{name} is of the wrong type, {found} instead of {wanted}"


_TYPES: Final = {**REQUIRED, **OPTIONAL}


def check_abi_version(version: int | None) -> None:
    """Refuse a plugin of another version of the contract.

    Raises:
        AbiError: one that names both versions.
    """
    if version != ABI_VERSION:
        message = f"ABI version {version} of the plugin is not the host's, which is {ABI_VERSION}"
        raise AbiError(message)
