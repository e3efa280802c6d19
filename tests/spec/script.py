"""One file of the suite, run command by command through the public names of `wasmpool_host`."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from tests.spec.links import Absent, Links
from tests.spec.values import HOST_TYPES, argument, matches
from tests.spec.verdict import PASSED, Explained, Failed, Refused, Verdict, Why, refusal_of
from tests.spec.world import Guest, World

from wasmpool_host import (
    CompileError,
    FunctionType,
    GlobalType,
    GuestMemoryError,
    GuestTrap,
    Limits,
    LinkError,
    Module,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from tests.spec.command import Action, Command

__all__ = ["Script"]

_LIMITS: Final = Limits(memory=1 << 32, table_elements=10_000_000, call_seconds=120)
"""All of a 32-bit memory; tables that the suite really grows; seconds after which a call hangs."""

_INVALID: Final = re.compile(
    r" is no valid WebAssembly module: | is no module in the text format(?: \(.*?\))?: "
)

_NOT_PASSED: Final = re.compile(r"cannot be passed between host and guest")

_CODES: Final = {
    "cast failure": "cast-failure",
    "call stack exhausted": "stack-overflow",
    "indirect call type mismatch": "bad-signature",
    "integer divide by zero": "integer-division-by-zero",
    "integer overflow": "integer-overflow",
    "invalid conversion to integer": "bad-conversion-to-integer",
    "null array reference": "null-reference",
    "null function reference": "null-reference",
    "null i31 reference": "null-reference",
    "null reference": "null-reference",
    "null structure reference": "null-reference",
    "out of bounds array access": "array-out-of-bounds",
    "out of bounds memory access": "memory-out-of-bounds",
    "out of bounds table access": "table-out-of-bounds",
    "unaligned atomic": "heap-misaligned",
    "undefined element": "table-out-of-bounds",
    "uninitialized element": "indirect-call-to-null",
    "uninitialized element 2": "indirect-call-to-null",
    "unreachable": "unreachable",
}
"""`GuestTrap.code` by the words of the reference interpreter."""

_FOUND_VALID: Final = frozenset({Why.LIMITS, Why.IMPORTS, Why.REFERENCES})
"""Why a module is refused that Wasmtime has compiled."""

_EXCEPTION: Final = "uncaught-exception"


class Script:
    """The modules that a file has defined so far.

    Args:
        explained: by line, failures whose cause is known; each stays an exception of its own.
    """

    def __init__(self, explained: Mapping[int, Explained] = MappingProxyType({})) -> None:
        self._explained = explained
        self._links = Links()
        self._latest: Guest | Absent = Absent(None)
        self._named: dict[str, Guest | Absent] = {}
        self._definition: Module | Absent = Absent(None)
        self._definitions: dict[str, Module | Absent] = {}
        self._worlds: list[World] = []

    async def run(self, command: Command) -> Verdict:
        """Run a command; nothing that it does wrong is raised."""
        verdict = await self._run(command)
        explained = self._explained.get(command.line)
        if explained is None:
            return verdict
        instead = explained.in_place_of(verdict)
        if command.type == "module" and isinstance(instead, Refused):
            self._name(command.name, Absent(instead.why))
        return instead

    async def _run(self, command: Command) -> Verdict:
        try:
            return await _STEPS[command.type](self, command)
        except Exception as error:  # noqa: BLE001 - any error is a failure
            return _failed(error)

    async def aclose(self) -> None:
        """Close all instances."""
        for world in self._worlds:
            await world.aclose()

    # --- modules ---

    async def _module(self, command: Command) -> Verdict:
        self._name(command.name, Absent(None))  # whatever goes wrong now, it is not the last one
        made = await self._compile(command)
        guest = made if isinstance(made, Absent | Failed) else await self._start(made)
        return self._name(command.name, guest)

    async def _module_definition(self, command: Command) -> Verdict:
        """It only has to be valid; what it lacks matters when it is instantiated."""
        self._define(command.name, Absent(None))
        try:
            made = await self._compile(command)
        except LinkError:
            return PASSED
        if isinstance(made, Failed):
            return made
        self._define(command.name, made)
        is_valid = isinstance(made, Absent) and made.why in _FOUND_VALID
        return PASSED if is_valid else _verdict_on(made)

    def _define(self, name: str | None, made: Module | Absent) -> None:
        self._definition = made
        if name is not None:
            self._definitions[name] = made

    async def _module_instance(self, command: Command) -> Verdict:
        name = command.definition
        made = self._definition if name is None else self._definitions[name]
        return self._name(
            command.name, made if isinstance(made, Absent) else await self._start(made)
        )

    async def _register(self, command: Command) -> Verdict:
        guest = self._guest(command.name)
        self._links.register(command.register_as, guest)
        return _verdict_on(guest)

    def _name(self, name: str | None, made: Guest | Absent | Failed) -> Verdict:
        self._latest = Absent(None) if isinstance(made, Failed) else made
        if name is not None:
            self._named[name] = self._latest
        return _verdict_on(made)

    def _guest(self, name: str | None) -> Guest | Absent:
        return self._latest if name is None else self._named[name]

    async def _compile(self, command: Command) -> Module | Absent | Failed:
        try:
            return await self._compiled(_path(command))
        except (CompileError, GuestMemoryError) as error:
            why = refusal_of(error)
            return _failed(error) if why is None else Absent(why)
        except LinkError as error:
            why = self._links.refusal_of(error)
            if why is None:
                raise
            self._links.lead_astray(error)
            return Absent(why)

    async def _compiled(self, path: Path) -> Module:
        return await Module.compile(path, imports=self._links.host_functions(), limits=_LIMITS)

    async def _start(self, module: Module) -> Guest | Failed:
        world = World()
        self._worlds.append(world)
        try:
            return await world.start(module, self._links.linked(module))
        except GuestTrap as error:
            return _failed(error)

    # --- calls ---

    async def _action(self, command: Command) -> Verdict:
        """A call for its effect: without it the instance is not as the script expects."""
        verdict = await self._perform(command, lambda _: PASSED)
        assert command.action is not None
        guest = self._guest(command.action.module)
        if isinstance(verdict, Refused) and isinstance(guest, Guest):
            guest.world.astray = verdict.why
        return verdict

    async def _assert_return(self, command: Command) -> Verdict:
        def check(result: Any) -> Verdict:
            results = result if isinstance(result, tuple) else () if result is None else (result,)
            right = len(results) == len(command.expected) and all(
                map(matches, results, command.expected)
            )
            return PASSED if right else Failed(f"returned {result!r}, not {command.expected}")

        return await self._perform(command, check)

    async def _assert_trap(self, command: Command) -> Verdict:
        return await self._trapping(command, _CODES.get(command.text))

    async def _assert_exception(self, command: Command) -> Verdict:
        return await self._trapping(command, _EXCEPTION)

    async def _trapping(self, command: Command, code: str | None) -> Verdict:
        try:
            return await self._perform(command, lambda result: Failed(f"returned {result!r}"))
        except GuestTrap as error:
            return PASSED if error.code == code else _failed(error)

    async def _perform(self, command: Command, check: Callable[[Any], Verdict]) -> Verdict:
        action = command.action
        assert action is not None
        guest = self._guest(action.module)
        if isinstance(guest, Absent):
            return _verdict_on(guest)
        if guest.world.astray is not None:
            return Refused(guest.world.astray)
        try:
            result = await _result_of(guest, action)
        except TypeError as error:
            if _NOT_PASSED.search(str(error)) and _has_reference(guest, action.field):
                return Refused(Why.REFERENCES)
            raise
        return check(result)

    # --- modules that must be refused ---

    async def _assert_invalid(self, command: Command) -> Verdict:
        """Also for modules with an error in the format, and in a custom section."""
        try:
            await self._compiled(_path(command))
        except CompileError as error:
            why = refusal_of(error)
            if why is not None:
                return Refused(why)
            return PASSED if _INVALID.search(str(error)) else _failed(error)
        return Failed("it was compiled")

    async def _assert_unlinkable(self, command: Command) -> Verdict:
        try:
            await self._compiled(_path(command))
        except LinkError as error:
            why = self._links.undecided(error)
            return PASSED if why is None else Refused(why)
        except CompileError as error:
            why = refusal_of(error)
            return _failed(error) if why is None else Refused(why)
        return Failed("it was linked")

    async def _assert_uninstantiable(self, command: Command) -> Verdict:
        made = await self._compile(command)
        if isinstance(made, Absent | Failed):
            return _verdict_on(made)
        world = World()
        self._worlds.append(world)
        try:
            await world.start(made, self._links.linked(made))
        except GuestTrap as error:
            return PASSED if error.code == _CODES.get(command.text) else _failed(error)
        return Failed("it was instantiated")


_STEPS: Final[dict[str, Callable[[Script, Command], Awaitable[Verdict]]]] = {
    "action": Script._action,
    "assert_exception": Script._assert_exception,
    "assert_exhaustion": Script._assert_trap,
    "assert_invalid": Script._assert_invalid,
    "assert_invalid_custom": Script._assert_invalid,
    "assert_malformed": Script._assert_invalid,
    "assert_malformed_custom": Script._assert_invalid,
    "assert_return": Script._assert_return,
    "assert_trap": Script._assert_trap,
    "assert_uninstantiable": Script._assert_uninstantiable,
    "assert_unlinkable": Script._assert_unlinkable,
    "module": Script._module,
    "module_definition": Script._module_definition,
    "module_instance": Script._module_instance,
    "register": Script._register,
}
"""What is done for a command, by its type."""


async def _result_of(guest: Guest, action: Action) -> Any:
    if action.type == "get":
        return await guest.get(action.field)
    assert action.type == "invoke", action
    return await guest.call(action.field, *map(argument, action.args))


def _has_reference(guest: Guest, field: str) -> bool:
    """Return True if an export has a type that wasmpool refuses to pass."""
    type_ = guest.module.exports[field]
    if isinstance(type_, FunctionType):
        return not HOST_TYPES.issuperset((*type_.params, *type_.results))
    return isinstance(type_, GlobalType) and type_.content not in HOST_TYPES


def _path(command: Command) -> Path:
    assert command.path is not None
    return command.path


def _verdict_on(made: Guest | Module | Absent | Failed) -> Verdict:
    """The verdict on a command that defines a module, or needs one."""
    if isinstance(made, Failed):
        return made
    if not isinstance(made, Absent):
        return PASSED
    return Failed("its module has failed") if made.why is None else Refused(made.why)


def _failed(error: Exception) -> Failed:
    return Failed(f"{type(error).__name__}: {error}")
