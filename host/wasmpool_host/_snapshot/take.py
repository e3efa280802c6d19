"""A snapshot of a module: what its start and its setup do is done once, for all instances.

Most of what a careful host pays for a fresh instance is the same work each time: the guest's
runtime starts, reads its configuration, fills its tables. A snapshot does this once, in one
instance, and writes the state of that instance down as a new module, of which each instance begins
there. The memory becomes an image that instances map and copy on write, so that they cost the same
for a guest whose start takes a microsecond and for one whose start takes a second.

How it goes:

1. `dissect` takes the binary apart, and `instrument` writes a copy in which all state can be
   reached. It is compiled, and one instance is made of it, of which no code has run.
2. `StateReader.read_before` reads what a snapshot cannot restore, to compare it later.
3. The start function, ``_initialize`` and the setup run, as for any instance.
4. `SnapshotInstance.check_fit` and `StateReader.read_after` look at everything that the instance
   has, in the guest and in the host. What cannot be written down is refused, never left out.
5. `rewritten` writes the new module.

What is hard is to know the whole of a state without a look at the code. Memory, globals, tables and
segments are all that an instance has by the specification; each of them is either read, or asked by
a probe, or shown to be what it was. References are the exception that the C API cannot read. A
function in a table or a global can at least be compared with what it was before; any other
reference has to be null. An object that only the code can reach is reached from a table or a global
in the end, and where one is there from the start (`check_module`), the module is refused: its
fields may have changed while the reference has not.

The host has state of an instance, too: the files of WASI, and what host functions keep. It has to
be as for a new instance. What the host cannot see is what the guest has *learned*: a random seed, a
time, a handle. The docs say so, and ``reseed`` is there for the first.

Rejected: to map the memory over that of an ordinary instance, which would save the second compile.
With a pool of memories in Wasmtime, the next instance in the same place could read the one before.
To find the functions of a changed table by exporting them all: a reload of code at run time is
rare, and each exported function costs every instance a little.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import attrs
from trio.lowlevel import disable_ki_protection, enable_ki_protection

from .anatomy import dissect
from .instance import SnapshotInstance
from .instrument import Hidden, instrument
from .rewrite import rewritten
from .state import StateReader, check_module

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmpool_host._instance.linked_module import LinkedModule

    from .anatomy import Anatomy
    from .state import State

__all__ = ["Plan", "Setup", "Taken", "check_setup", "check_timeout", "make_plan", "take"]

Setup: TypeAlias = Callable[[Any], Awaitable[Any] | object]
"""Makes an instance ready; async or plain."""

_INITIALIZERS: Final = ("_initialize", "__wasm_call_ctors")
"""What starts a guest's runtime; the instances of a snapshot begin after it."""
_START_OF_GO: Final = "_rt0_wasm_wasip1"
"""What starts Go's runtime in a module that does not export ``_initialize``; setups call it."""


@final
@attrs.frozen(eq=False, repr=False)
class Plan:
    """A module taken apart, and the instrumented copy of it."""

    owner: str
    anatomy: Anatomy
    hidden: Hidden
    copy: bytes
    """The copy's binary."""


@final
@attrs.frozen(eq=False, repr=False)
class Taken:
    """The state of the instance that was set up, to be written into a module."""

    plan: Plan
    state: State
    spent: frozenset[str]
    exchange_buffer: tuple[int, int]
    """Where the host's buffer is in the memory, and its capacity."""

    def binary(self) -> bytes:
        """Write the module. It may take a while, for a large memory.

        Raises:
            SnapshotError: there is no room for the memory's segments.
        """
        return rewritten(self.plan.owner, self.plan.anatomy, self.state, self.spent)


def check_setup(setup: object) -> None:
    """Raise TypeError if this cannot be a setup."""
    if setup is None:
        return
    if not callable(setup):
        message = f"setup must be a function of an instance or None, not {setup!r}"
        raise TypeError(message)
    if inspect.isgeneratorfunction(setup) or inspect.isasyncgenfunction(setup):
        message = f"setup must not yield, as nothing of {setup!r} would run: use return"
        raise TypeError(message)


def check_timeout(seconds: object) -> None:
    """Raise TypeError or ValueError if this cannot be a ``start_timeout``."""
    if seconds is None:
        return
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        message = f"start_timeout must be a number of seconds or None, not {seconds!r}"
        raise TypeError(message)
    if not seconds > 0:
        message = f"start_timeout must be above 0 seconds, not {seconds!r}"
        raise ValueError(message)


def make_plan(owner: str, binary: bytes, memory_names: Sequence[str]) -> Plan:
    """Write the instrumented copy of a valid module. It may take a while.

    Raises:
        SnapshotError: no snapshot of this module can be made.
    """
    anatomy = dissect(binary)
    check_module(owner, anatomy)
    hidden = Hidden(anatomy.exports)
    return Plan(owner, anatomy, hidden, instrument(owner, anatomy, hidden, memory_names))


@enable_ki_protection
async def take(
    plan: Plan, linked: LinkedModule, initialize: str | None, setup: Setup | None
) -> Taken:
    """Make an instance of the copy, run its start and the setup, and read its state.

    Args:
        plan: what the copy was made by.
        linked: the compiled copy.
        initialize: the module's export that runs at the start of each instance.
        setup: called with the instance; a result that can be awaited is awaited.

    Raises:
        SnapshotError: the state cannot be written down.
        BaseException: what the start or the setup raised.

    The instance is closed then.
    """
    instance = SnapshotInstance(linked)
    try:
        reader = StateReader(plan.owner, plan.anatomy, plan.hidden, linked.memory_exports, instance)
        await instance.open()
        await reader.read_before()
        if plan.anatomy.start is not None:
            await instance.run_start(plan.hidden.start)
        if initialize is not None:
            await instance.run_initialize(initialize)
        if setup is not None:
            await _set_up(setup, instance)
        instance.check_fit()
        instance.seal()
        await instance.settle()
        instance.check_fit()  # again: code of the guest has run
        spent = set[str](_INITIALIZERS if initialize in _INITIALIZERS else ())
        if spent or instance.has_called(_START_OF_GO):
            spent.add(_START_OF_GO)
        buffer = instance.exchange_buffer
        return Taken(plan, await reader.read_after(), frozenset(spent), buffer)
    finally:
        await instance.aclose()


@disable_ki_protection
async def _set_up(setup: Setup, instance: SnapshotInstance) -> None:
    result = setup(instance)
    if inspect.isawaitable(result):
        await result
