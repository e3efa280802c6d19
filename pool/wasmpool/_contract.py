"""The contract that plugins are compiled against (ABI version 1): which exports of which types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmpool_host import FunctionType

from ._plugin_errors import AbiError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "ABI_VERSION",
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


def check_exports(exports: Mapping[str, object]) -> None:
    """Refuse a module that does not keep to the contract.

    Raises:
        AbiError: one that names the first export in question first, and then the others.
    """
    found = list(violations(exports))
    if not found:
        return
    name, first = found[0]
    others = "".join(f"; {why}" for _, why in found[1:])
    message = (
        f"{first}{others}. A plugin of ABI version {ABI_VERSION} exports {name} {_TYPES[name]}"
    )
    raise AbiError(message)


def violations(exports: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Each export that is missing or of the wrong type, with what is wrong, in order."""
    for name, wanted in _TYPES.items():
        found = exports.get(name)
        if found is None:
            if name in REQUIRED:
                yield name, f"{name} is missing"
        elif found != wanted:
            yield name, f"{name} is of the wrong type, {found} instead of {wanted}"


_TYPES: Final = {**REQUIRED, **OPTIONAL}


def check_abi_version(version: int | None) -> None:
    """Refuse a plugin of another version of the contract.

    Raises:
        AbiError: one that names both versions.
    """
    if version != ABI_VERSION:
        message = f"ABI version {version} of the plugin is not the host's, which is {ABI_VERSION}"
        raise AbiError(message)
