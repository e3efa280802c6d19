"""The functions of ``wasi_snapshot_preview1``, with their types, as host functions for one module.

`bind` makes a host function of each: it converts numbers to unsigned ones, finds the instance's
process, and converts exceptions to the contract's error numbers. An invalid pointer is ``FAULT``,
and the guest continues; only `GuestExit`, and errors that the guest did not cause, end the call.
"""

from __future__ import annotations

import inspect
from operator import and_
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from wasmpool_host._errors import GuestMemoryError
from wasmpool_host._instance.caller import PROCESS
from wasmpool_host._instance.host_function import HostFunction, host_function
from wasmpool_host._scheduling.blocking_calls import TooManyAbandoned

from . import clock, fd_functions, path_functions, process_functions
from .errno import Errno, MustWait, NeedsThread, WasiError, errno_of
from .offload import run_offloaded
from .process import open_process, open_process_offloaded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence

    from wasmpool_host._types import PassedType

    from .config import Wasi
    from .guest_memory import GuestMemory
    from .process import Process

__all__ = ["FUNCTIONS", "MODULE", "WasiFunction", "bind", "wasi_imports"]

MODULE = "wasi_snapshot_preview1"


class WasiFunction(NamedTuple):
    """A function of the contract, with its core types."""

    function: Callable[..., Any]
    """Takes the process, the memory and unsigned numbers; returns None, or raises."""
    params: tuple[PassedType, ...]
    results: tuple[PassedType, ...] = ("i32",)
    """The error number."""
    files: tuple[int, ...] = ()
    """The positions of the parameters that are descriptors of files that it uses."""
    waits: bool = False
    """It waits for the disk, on any file system."""


_I32: Final = "i32"
_I64: Final = "i64"

_fd = fd_functions
_path = path_functions
_proc = process_functions

FUNCTIONS: Mapping[str, WasiFunction] = MappingProxyType(
    {
        "args_get": WasiFunction(_proc.args_get, (_I32,) * 2),
        "args_sizes_get": WasiFunction(_proc.args_sizes_get, (_I32,) * 2),
        "clock_res_get": WasiFunction(clock.clock_res_get, (_I32,) * 2),
        "clock_time_get": WasiFunction(clock.clock_time_get, (_I32, _I64, _I32)),
        "environ_get": WasiFunction(_proc.environ_get, (_I32,) * 2),
        "environ_sizes_get": WasiFunction(_proc.environ_sizes_get, (_I32,) * 2),
        "fd_advise": WasiFunction(_fd.fd_advise, (_I32, _I64, _I64, _I32)),
        "fd_allocate": WasiFunction(_fd.fd_allocate, (_I32, _I64, _I64)),
        "fd_close": WasiFunction(_fd.fd_close, (_I32,), files=(0,)),
        "fd_datasync": WasiFunction(_fd.fd_datasync, (_I32,), files=(0,), waits=True),
        "fd_fdstat_get": WasiFunction(_fd.fd_fdstat_get, (_I32,) * 2),
        "fd_fdstat_set_flags": WasiFunction(_fd.fd_fdstat_set_flags, (_I32,) * 2, files=(0,)),
        "fd_fdstat_set_rights": WasiFunction(_fd.fd_fdstat_set_rights, (_I32, _I64, _I64)),
        "fd_filestat_get": WasiFunction(_fd.fd_filestat_get, (_I32,) * 2, files=(0,)),
        "fd_filestat_set_size": WasiFunction(_fd.fd_filestat_set_size, (_I32, _I64), files=(0,)),
        "fd_filestat_set_times": WasiFunction(
            _fd.fd_filestat_set_times, (_I32, _I64, _I64, _I32), files=(0,)
        ),
        "fd_pread": WasiFunction(_fd.fd_pread, (_I32, _I32, _I32, _I64, _I32), files=(0,)),
        "fd_prestat_dir_name": WasiFunction(_fd.fd_prestat_dir_name, (_I32,) * 3),
        "fd_prestat_get": WasiFunction(_fd.fd_prestat_get, (_I32,) * 2),
        "fd_pwrite": WasiFunction(_fd.fd_pwrite, (_I32, _I32, _I32, _I64, _I32), files=(0,)),
        "fd_read": WasiFunction(_fd.fd_read, (_I32,) * 4, files=(0,)),
        "fd_readdir": WasiFunction(_fd.fd_readdir, (_I32, _I32, _I32, _I64, _I32), files=(0,)),
        "fd_renumber": WasiFunction(_fd.fd_renumber, (_I32,) * 2, files=(0, 1)),
        "fd_seek": WasiFunction(_fd.fd_seek, (_I32, _I64, _I32, _I32), files=(0,)),
        "fd_sync": WasiFunction(_fd.fd_sync, (_I32,), files=(0,), waits=True),
        "fd_tell": WasiFunction(_fd.fd_tell, (_I32,) * 2, files=(0,)),
        "fd_write": WasiFunction(_fd.fd_write, (_I32,) * 4, files=(0,)),
        "path_create_directory": WasiFunction(_path.path_create_directory, (_I32,) * 3, files=(0,)),
        "path_filestat_get": WasiFunction(_path.path_filestat_get, (_I32,) * 5, files=(0,)),
        "path_filestat_set_times": WasiFunction(
            _path.path_filestat_set_times, (_I32, _I32, _I32, _I32, _I64, _I64, _I32), files=(0,)
        ),
        "path_link": WasiFunction(_path.path_link, (_I32,) * 7, files=(0, 4)),
        "path_open": WasiFunction(
            _path.path_open, (_I32, _I32, _I32, _I32, _I32, _I64, _I64, _I32, _I32), files=(0,)
        ),
        "path_readlink": WasiFunction(_path.path_readlink, (_I32,) * 6, files=(0,)),
        "path_remove_directory": WasiFunction(_path.path_remove_directory, (_I32,) * 3, files=(0,)),
        "path_rename": WasiFunction(_path.path_rename, (_I32,) * 6, files=(0, 3)),
        "path_symlink": WasiFunction(_path.path_symlink, (_I32,) * 5, files=(2,)),
        "path_unlink_file": WasiFunction(_path.path_unlink_file, (_I32,) * 3, files=(0,)),
        "poll_oneoff": WasiFunction(clock.poll_oneoff, (_I32,) * 4),
        "proc_exit": WasiFunction(_proc.proc_exit, (_I32,), ()),
        "proc_raise": WasiFunction(_proc.proc_raise, (_I32,)),
        "random_get": WasiFunction(_proc.random_get, (_I32,) * 2),
        "sched_yield": WasiFunction(_proc.sched_yield, ()),
        "sock_accept": WasiFunction(_fd.sock_accept, (_I32,) * 3),
        "sock_recv": WasiFunction(_fd.sock_recv, (_I32,) * 6),
        "sock_send": WasiFunction(_fd.sock_send, (_I32,) * 5),
        "sock_shutdown": WasiFunction(_fd.sock_shutdown, (_I32,) * 2),
    }
)

_MASKS = {_I32: 0xFFFF_FFFF, _I64: 0xFFFF_FFFF_FFFF_FFFF}


class WasiCaller(Protocol):
    """The part of `wasmpool_host.Caller` that WASI functions use."""

    @property
    def memory(self) -> GuestMemory:
        """The guest's memory."""
        ...

    @property
    def state(self) -> MutableMapping[Any, Any]:
        """Objects that live as long as the instance; those with a ``close`` are closed with it."""
        ...

    @property
    def log_extra(self) -> Mapping[str, object]:
        """Attributes of log records about the guest."""
        ...


def bind(wasi_function: WasiFunction, wasi: Wasi) -> Callable[..., int | Awaitable[int]]:
    """The host function for guests with this `wasi`: ``fn(caller, *args)``, plain or async."""
    if wasi_function.waits or any(preopen.may_wait for preopen in wasi.preopens.values()):
        return _bind_waiting(wasi_function, wasi)
    if inspect.iscoroutinefunction(wasi_function.function):
        return _bind_async(wasi_function, wasi)
    return _bind_plain(wasi_function, wasi)


def _process_of(caller: WasiCaller, wasi: Wasi) -> Process:
    process: Process | None = caller.state.get(PROCESS)
    if process is None:
        process = caller.state[PROCESS] = open_process(wasi, caller.log_extra)
    return process


def _bind_plain(wasi_function: WasiFunction, wasi: Wasi) -> Callable[..., int | Awaitable[int]]:
    masks = [_MASKS[kind] for kind in wasi_function.params]
    function = wasi_function.function

    def call(caller: WasiCaller, *args: int) -> int | Awaitable[int]:
        process = _process_of(caller, wasi)
        if process.may_wait:  # of a run: the module's own directories never block
            return call_waiting(caller, *args)
        try:
            function(process, caller.memory, *map(and_, args, masks))
        except (WasiError, GuestMemoryError, OSError) as error:
            return _errno(error)
        except NeedsThread as needed:
            return call_offloaded(process, needed.device, caller.memory, *args)
        except MustWait as needed:
            return call_later(process, needed, caller.memory, *args)
        return 0

    call_waiting = _bind_waiting(wasi_function, wasi)

    async def call_later(
        process: Process, needed: MustWait, memory: GuestMemory, *args: int
    ) -> int:
        try:
            await _when_ready(needed, function, process, memory, *map(and_, args, masks))
        except (WasiError, GuestMemoryError, OSError) as error:
            return _errno(error)
        return 0

    async def call_offloaded(process: Process, device: int, memory: GuestMemory, *args: int) -> int:
        try:
            await run_offloaded(process, device, function, memory, tuple(map(and_, args, masks)))
        except (WasiError, GuestMemoryError, OSError) as error:
            return _errno(error)
        return 0

    return call


def _bind_async(wasi_function: WasiFunction, wasi: Wasi) -> Callable[..., Awaitable[int]]:
    masks = [_MASKS[kind] for kind in wasi_function.params]
    function = wasi_function.function

    async def call(caller: WasiCaller, *args: int) -> int:
        process = _process_of(caller, wasi)
        try:
            await function(process, caller.memory, *map(and_, args, masks))
        except (WasiError, GuestMemoryError, OSError) as error:
            return _errno(error)
        return 0

    return call


def _bind_waiting(wasi_function: WasiFunction, wasi: Wasi) -> Callable[..., Awaitable[int]]:
    """The same for a call that may block, itself or as the guest's first one."""
    masks = [_MASKS[kind] for kind in wasi_function.params]

    async def call_waiting(caller: WasiCaller, *args: int) -> int:
        process: Process | None = caller.state.get(PROCESS)
        if process is None:
            try:
                process = await open_process_offloaded(wasi, log_extra=caller.log_extra)
                caller.state[PROCESS] = process
            except TooManyAbandoned as error:
                if not wasi_function.results:  # proc_exit has no error number
                    raise
                return errno_of(error)
        numbers = tuple(map(and_, args, masks))
        try:
            await _call_waiting(wasi_function, process, caller.memory, numbers)
        except (WasiError, GuestMemoryError, OSError) as error:
            return _errno(error)
        return 0

    return call_waiting


async def _call_waiting(
    wasi_function: WasiFunction, process: Process, memory: GuestMemory, args: tuple[int, ...]
) -> None:
    """Call a function that may block: in a thread if its file is on a device that may."""
    function = wasi_function.function
    device = _device(process, wasi_function, args)
    if device is None:
        try:
            done = function(process, memory, *args)
            if done is not None:
                await done
        except NeedsThread as needed:
            device = needed.device
        except MustWait as needed:
            await _when_ready(needed, function, process, memory, *args)
    if device is not None:
        await run_offloaded(process, device, function, memory, args)


async def _when_ready(
    needed: MustWait,
    function: Callable[..., Any],
    process: Process,
    memory: GuestMemory,
    *args: int,
) -> None:
    """Call a function again after what it has to wait for, until it has nothing to wait for."""
    while True:
        await needed.wait()
        try:
            function(process, memory, *args)
        except MustWait as again:
            needed = again
        else:
            return


def _device(process: Process, wasi_function: WasiFunction, args: Sequence[int]) -> int | None:
    """The device on which the call may block; None if it does not block."""
    for position in wasi_function.files:
        descriptor = process.descriptors.find(args[position])
        if descriptor is not None and (descriptor.may_wait or wasi_function.waits):
            return descriptor.device
    return None


def _errno(error: WasiError | GuestMemoryError | OSError) -> int:
    if isinstance(error, WasiError):
        return error.errno
    return Errno.FAULT if isinstance(error, GuestMemoryError) else errno_of(error)


def wasi_imports(wasi: Wasi, names: Iterable[str] = FUNCTIONS) -> Sequence[HostFunction]:
    """Functions of ``wasi_snapshot_preview1``, for the instances of one module.

    To create all of them takes a millisecond, during which a loop in another thread may have to
    wait. The state of an instance (its descriptors, an incomplete line of output) is in
    ``caller.state`` from its first WASI call on, and ends with the instance.
    """
    return [
        host_function(MODULE, name, params=FUNCTIONS[name].params, results=FUNCTIONS[name].results)(
            bind(FUNCTIONS[name], wasi)
        )
        for name in names
    ]
