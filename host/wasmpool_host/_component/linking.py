"""From a component's imports to the host functions that it gets, and what stands against it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from wasmpool_host import _capi, _wit
from wasmpool_host import _capi_component as capi
from wasmpool_host._errors import LinkError
from wasmpool_host._escape import escaped
from wasmpool_host._suggest import MOST, similar

from .augmented import HIDDEN
from .host_call import DESTRUCTOR, ENTRY
from .imported import ImportedFunction, import_name
from .paired import paired_import
from .signature import ComponentSignature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import wasmtime

    from wasmpool_host._instance.host_function import HostFunction
    from wasmpool_host._wasi import Wasi

    from .augmented import Augmented
    from .reading import World

__all__ = ["Provided", "link", "missing_of", "resolve"]

_WASI: Final = "wasi:"
_VERSIONED: Final = r"(?P<name>[^@]+)@(?P<version>\d+\.\d+\.\d+.*)"


class Provided:
    """The host functions that a component may import, by interface and name.

    An interface's version matters as far as versions are compatible: a function for
    ``wasi:io/poll@0.2.3`` is one for ``wasi:io/poll@0.2.0``, too, and one for an interface without
    a version is for all.
    """

    def __init__(self, functions: Iterable[HostFunction], wasi: Wasi) -> None:
        """Of two functions for one import the later one counts, and those of WASI come last."""
        self._wasi = wasi
        self._exact: dict[tuple[str, str], Callable[..., Any]] = {}
        self._compatible: dict[tuple[str, str], Callable[..., Any]] = {}
        for each in functions:
            self._exact[each.module, each.name] = each.function
            self._compatible[_track(each.module), each.name] = each.function

    def find(self, interface: str, name: str, type_: _wit.WitFunction) -> Callable[..., Any] | None:
        """The function for an import of a type, or None."""
        return (
            self._exact.get((interface, name))
            or self._compatible.get((_track(interface), name))
            or self._exact.get((interface.partition("@")[0], name))
            or self._find_in_wasi(interface, name, type_)
        )

    def _find_in_wasi(
        self, interface: str, name: str, type_: _wit.WitFunction
    ) -> Callable[..., Any] | None:
        if not interface.startswith(_WASI):
            return None
        from wasmpool_host._wasi_p2 import provided  # noqa: PLC0415 - few components need it

        return provided.find(interface, name, type_, self._wasi)

    def type_text(self, interface: str, name: str) -> str | None:
        """The type that a function of WASI has, as text; None if there is no such function."""
        if not interface.startswith(_WASI):
            return None
        from wasmpool_host._wasi_p2 import provided  # noqa: PLC0415 - as above

        return provided.type_text(interface, name)

    def names(self, interface: str) -> list[str]:
        """The names of all, for suggestions: also those of WASI where the interface is of it."""
        names = [import_name(*key) for key in self._exact]
        if interface.startswith(_WASI):
            from wasmpool_host._wasi_p2 import provided  # noqa: PLC0415 - as above

            names += [import_name(*key) for key in provided.names()]
        return names


def _track(interface: str) -> str:
    """The interface with as much of its version as must be equal: that is semver's rule."""
    match = re.fullmatch(_VERSIONED, interface)
    if match is None:
        return interface
    major, minor, *_ = re.split(r"[.+-]", match["version"])
    if major != "0":
        return f"{match['name']}@{major}"
    return f"{match['name']}@0.{minor}" if minor != "0" else interface


def resolve(
    owner: str, world: World, provided: Provided, augmented: Augmented | None
) -> tuple[ImportedFunction, ...]:
    """The host functions that a component imports; the entry callback is given their index here.

    Args:
        owner: begins the message of the error.
        world: what the component imports.
        provided: what it may import.
        augmented: what was added to it, if anything.

    Raises:
        LinkError: some imports are not provided; all of them are listed.
    """
    found: list[ImportedFunction] = []
    missing = [f"  {escaped(name)}: no function or resource" for name in world.unknown]
    for interface, items in world.imports.items():
        for name, type_ in items.items():
            if not isinstance(type_, _wit.WitFunction) or name.startswith(HIDDEN):
                continue
            function = provided.find(interface, name, type_)
            label = import_name(interface, name)
            if function is None:
                near = provided.names(interface) if len(missing) < MOST else []
                other = provided.type_text(interface, name)
                missing.append(_why_missing(label, type_, near, other))
                continue
            try:
                signature = ComponentSignature(type_, f"import {escaped(label)}")
            except TypeError as error:
                missing.append(f"  {escaped(label)}: {error}")
                continue
            found.append(ImportedFunction(interface, name, function, signature))
    if missing:
        message = f"{owner} imports what nobody provides:\n" + "\n".join(dict.fromkeys(missing))
        raise LinkError(message)
    return *found, *_paired(found, augmented)


def _paired(
    functions: Sequence[ImportedFunction], augmented: Augmented | None
) -> Iterable[ImportedFunction]:
    """The same functions where they are called with pairs."""
    known = {(each.interface, each.name): each for each in functions}
    for (interface, name), paired in (augmented.imports if augmented else {}).items():
        original = known[paired.interface, paired.name]
        type_ = original.signature.type
        signature = ComponentSignature(type_, f"import {original}", paired_import(type_))
        yield ImportedFunction(interface, name, original.function, signature, paired)


def missing_of(world: World, provided: Provided) -> tuple[str, ...]:
    """The names of imports that nobody provides."""
    functions = (
        (interface, name, type_)
        for interface, items in world.imports.items()
        for name, type_ in items.items()
        if isinstance(type_, _wit.WitFunction) and not name.startswith(HIDDEN)
    )
    missing = (import_name(*each[:2]) for each in functions if provided.find(*each) is None)
    return (*world.unknown, *missing)


def _why_missing(
    label: str, type_: _wit.WitFunction, names: Sequence[str], other: str | None
) -> str:
    line = f"  {escaped(label)}: {_wit.in_message(type_)}"
    if other is not None:
        return f"{line} (that of WASI is {other})"
    near = similar(label, names)
    return f"{line} (there is {near})" if near else line


def link(
    owner: str,
    engine: wasmtime.Engine,
    compiled: Any,
    world: World,
    imported: Sequence[ImportedFunction],
) -> capi.PreparedComponent:
    """Link a component to its host functions and resources, once for all instances.

    Raises:
        LinkError: Wasmtime refuses one of them.
    """
    linker = capi.ComponentLinker(engine, compiled)
    functions: dict[str, list[tuple[str, Any, int]]] = {}
    for index, each in enumerate(imported):
        functions.setdefault(each.interface, []).append((each.linked_name, ENTRY, index))
    try:
        for interface, items in world.imports.items():
            linker.define(interface, functions.get(interface, []), _resources(items))
    except _capi.CApiError as error:
        raise LinkError(f"{owner} cannot be linked: {escaped(str(error))}") from error
    return linker.prepare()


def _resources(
    items: Mapping[str, _wit.WitFunction | _wit.Resource],
) -> list[tuple[str, int, Any]]:
    return [
        (name, item.index, DESTRUCTOR)
        for name, item in items.items()
        if isinstance(item, _wit.Resource)
    ]
