"""The packed ABI: how a guest and its host pass bytes, and what a guest needs for it.

A packed value is one i64 that carries a region of the guest's memory: the pointer in the high 32
bits, the size in the low 32 (the plugin ABI, version 1). An i64 comes signed, so it is masked
first. Size 0 is empty, whatever the pointer is.

Bytes are written to memory from the guest's ``malloc``, or ``guest_malloc``; the guest's own bytes
are given back to its ``free``, or ``guest_free``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmpool_host._errors import GuestMemoryError, LinkError
from wasmpool_host._shown import shown
from wasmpool_host._types import FunctionType

if TYPE_CHECKING:
    from .linked_module import LinkedModule

__all__ = [
    "check_exchange",
    "check_packed",
    "check_size",
    "find_free",
    "find_malloc",
    "has_malloc",
    "pack",
    "unpack",
]

_U32: Final = 0xFFFF_FFFF
_U64: Final = 0xFFFF_FFFF_FFFF_FFFF

_MALLOC: Final = ("malloc", "guest_malloc")
_FREE: Final = ("free", "guest_free")
_MALLOC_TYPE: Final = FunctionType(("i32",), ("i32",))
_FREE_TYPE: Final = FunctionType(("i32",), ())
_EXCHANGE: Final = {True: FunctionType(("i64",), ("i64",)), False: FunctionType((), ("i64",))}


def pack(ptr: int, size: int) -> int:
    """Return the packed value, as an unsigned number."""
    return (ptr & _U32) << 32 | (size & _U32)


def unpack(packed: int) -> tuple[int, int]:
    """Return pointer and size, both unsigned."""
    packed &= _U64
    return packed >> 32, packed & _U32


def check_packed(packed: object) -> None:
    """Raise where a host's value is no i64, signed or unsigned: `unpack` would cut it."""
    if not isinstance(packed, int):
        message = f"a packed region is an int (an i64), not {shown(packed)}"
        raise TypeError(message)
    if not -(1 << 63) <= packed <= _U64:
        message = f"a packed region is an i64, from -2**63 to 2**64 - 1; {shown(packed)} is outside"
        raise ValueError(message)


def find_malloc(module: LinkedModule) -> str:
    """Return the export that allocates.

    Raises:
        LinkError: there is none of the right type.
    """
    name = _first(module, _MALLOC, _MALLOC_TYPE)
    if name is not None:
        return name
    message = (
        f"{module} exports neither 'malloc' nor 'guest_malloc' of type {_MALLOC_TYPE}, which"
        " bytes can only be passed to a guest by"
    )
    raise LinkError(message)


def find_free(module: LinkedModule) -> str | None:
    """Return the export that frees, if there is one of the right type."""
    if module.free == "":
        module.free = _first(module, _FREE, _FREE_TYPE)
    return module.free


def has_malloc(module: LinkedModule) -> bool:
    """Return True if there is an export that allocates."""
    return _first(module, _MALLOC, _MALLOC_TYPE) is not None


def _first(module: LinkedModule, names: tuple[str, ...], type_: FunctionType) -> str | None:
    for name in names:
        if module.exports.get(name) == type_:
            return name
    return None


def check_exchange(module: LinkedModule, export: str, payload: object) -> None:
    """Raise where an export, which is a function, cannot exchange a payload."""
    label = module.label(export)
    if payload is not None and not isinstance(payload, bytes):
        given = type(payload).__name__
        message = f"{label}: the payload must be bytes or None, not {given}"
        raise TypeError(message)
    type_, wanted = module.exports[export], _EXCHANGE[payload is not None]
    if type_ != wanted:
        kind = "with" if payload is not None else "without"
        message = (
            f"export {label} has the type {type_}: an exchange {kind} a payload needs {wanted}"
        )
        raise TypeError(message)
    limit = module.limits.payload
    if payload is not None and len(payload) > limit:
        message = f"{label}: a payload of {len(payload):,} bytes is above limits.payload={limit:,}"
        raise ValueError(message)


def check_size(module: LinkedModule, size: int, what: str) -> None:
    """Raise where a guest's region is above the limit; ``what`` begins the message."""
    limit = module.limits.payload
    if size > limit:
        message = f"{what} {size:,} bytes, above limits.payload={limit:,}"
        raise GuestMemoryError(message)
