"""The functions of ``wasi_snapshot_preview1``, with their types, as host functions for one module.

Between guest and function stands `bind`: it makes numbers unsigned, finds the instance's process,
and turns what goes wrong into the contract's error number. A wild pointer is ``FAULT`` and the
guest goes on; only `GuestExit`, and what is not the guest's doing, ends the call.
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
from .apart import run_apart
from .errno import Errno, TakesLong, WasiError, errno_of
from .process import begin, begin_apart

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence

    from wasmpool_host._types import NumericType

    from .config import Wasi
    from .memory import Memory
    from .process import Process

__all__ = ["FUNCTIONS", "MODULE", "Signature", "bind", "wasi_imports"]

MODULE = "wasi_snapshot_preview1"


class Signature(NamedTuple):
    """A function of the contract, lowered to core types."""

    function: Callable[..., Any]
    """Gets the process, the memory and unsigned numbers; returns nothing, or raises."""
    params: tuple[NumericType, ...]
    results: tuple[NumericType, ...] = ("i32",)
    """The error number."""
    files: tuple[int, ...] = ()
    """Which parameters are descriptors of files that it uses."""
    waits: bool = False
    """It waits for the disk, wherever the file is."""


_I32: Final = "i32"
_I64: Final = "i64"

_fd = fd_functions
_path = path_functions
_proc = process_functions

FUNCTIONS: Mapping[str, Signature] = MappingProxyType(
    {
        "args_get": Signature(_proc.args_get, (_I32,) * 2),
        "args_sizes_get": Signature(_proc.args_sizes_get, (_I32,) * 2),
        "clock_res_get": Signature(clock.clock_res_get, (_I32,) * 2),
        "clock_time_get": Signature(clock.clock_time_get, (_I32, _I64, _I32)),
        "environ_get": Signature(_proc.environ_get, (_I32,) * 2),
        "environ_sizes_get": Signature(_proc.environ_sizes_get, (_I32,) * 2),
        "fd_advise": Signature(_fd.fd_advise, (_I32, _I64, _I64, _I32)),
        "fd_allocate": Signature(_fd.fd_allocate, (_I32, _I64, _I64)),
        "fd_close": Signature(_fd.fd_close, (_I32,), files=(0,)),
        "fd_datasync": Signature(_fd.fd_datasync, (_I32,), files=(0,), waits=True),
        "fd_fdstat_get": Signature(_fd.fd_fdstat_get, (_I32,) * 2),
        "fd_fdstat_set_flags": Signature(_fd.fd_fdstat_set_flags, (_I32,) * 2, files=(0,)),
        "fd_fdstat_set_rights": Signature(_fd.fd_fdstat_set_rights, (_I32, _I64, _I64)),
        "fd_filestat_get": Signature(_fd.fd_filestat_get, (_I32,) * 2, files=(0,)),
        "fd_filestat_set_size": Signature(_fd.fd_filestat_set_size, (_I32, _I64), files=(0,)),
        "fd_filestat_set_times": Signature(
            _fd.fd_filestat_set_times, (_I32, _I64, _I64, _I32), files=(0,)
        ),
        "fd_pread": Signature(_fd.fd_pread, (_I32, _I32, _I32, _I64, _I32), files=(0,)),
        "fd_prestat_dir_name": Signature(_fd.fd_prestat_dir_name, (_I32,) * 3),
        "fd_prestat_get": Signature(_fd.fd_prestat_get, (_I32,) * 2),
        "fd_pwrite": Signature(_fd.fd_pwrite, (_I32, _I32, _I32, _I64, _I32), files=(0,)),
        "fd_read": Signature(_fd.fd_read, (_I32,) * 4, files=(0,)),
        "fd_readdir": Signature(_fd.fd_readdir, (_I32, _I32, _I32, _I64, _I32), files=(0,)),
        "fd_renumber": Signature(_fd.fd_renumber, (_I32,) * 2, files=(0, 1)),
        "fd_seek": Signature(_fd.fd_seek, (_I32, _I64, _I32, _I32), files=(0,)),
        "fd_sync": Signature(_fd.fd_sync, (_I32,), files=(0,), waits=True),
        "fd_tell": Signature(_fd.fd_tell, (_I32,) * 2, files=(0,)),
        "fd_write": Signature(_fd.fd_write, (_I32,) * 4, files=(0,)),
        "path_create_directory": Signature(_path.path_create_directory, (_I32,) * 3, files=(0,)),
        "path_filestat_get": Signature(_path.path_filestat_get, (_I32,) * 5, files=(0,)),
        "path_filestat_set_times": Signature(
            _path.path_filestat_set_times, (_I32, _I32, _I32, _I32, _I64, _I64, _I32), files=(0,)
        ),
        "path_link": Signature(_path.path_link, (_I32,) * 7, files=(0, 4)),
        "path_open": Signature(
            _path.path_open, (_I32, _I32, _I32, _I32, _I32, _I64, _I64, _I32, _I32), files=(0,)
        ),
        "path_readlink": Signature(_path.path_readlink, (_I32,) * 6, files=(0,)),
        "path_remove_directory": Signature(_path.path_remove_directory, (_I32,) * 3, files=(0,)),
        "path_rename": Signature(_path.path_rename, (_I32,) * 6, files=(0, 3)),
        "path_symlink": Signature(_path.path_symlink, (_I32,) * 5, files=(2,)),
        "path_unlink_file": Signature(_path.path_unlink_file, (_I32,) * 3, files=(0,)),
        "poll_oneoff": Signature(clock.poll_oneoff, (_I32,) * 4),
        "proc_exit": Signature(_proc.proc_exit, (_I32,), ()),
        "proc_raise": Signature(_proc.proc_raise, (_I32,)),
        "random_get": Signature(_proc.random_get, (_I32,) * 2),
        "sched_yield": Signature(_proc.sched_yield, ()),
        "sock_accept": Signature(_fd.sock_accept, (_I32,) * 3),
        "sock_recv": Signature(_fd.sock_recv, (_I32,) * 6),
        "sock_send": Signature(_fd.sock_send, (_I32,) * 5),
        "sock_shutdown": Signature(_fd.sock_shutdown, (_I32,) * 2),
    }
)

_MASKS = {_I32: 0xFFFF_FFFF, _I64: 0xFFFF_FFFF_FFFF_FFFF}


class Caller(Protocol):
    """What a host function knows of the instance that calls it."""

    @property
    def memory(self) -> Memory:
        """The guest's memory."""
        ...

    @property
    def state(self) -> MutableMapping[Any, Any]:
        """What lives as long as the instance; what has a ``close`` is closed with it."""
        ...


def bind(signature: Signature, wasi: Wasi) -> Callable[..., int | Awaitable[int]]:
    """The function for guests that are given `wasi`: ``fn(caller, *args)``, plain or async."""
    if signature.waits or any(preopen.may_wait for preopen in wasi.preopens.values()):
        return _bind_waiting(signature, wasi)
    if inspect.iscoroutinefunction(signature.function):
        return _bind_async(signature, wasi)
    return _bind_plain(signature, wasi)


def _process_of(caller: Caller, wasi: Wasi) -> Process:
    process: Process | None = caller.state.get(PROCESS)
    if process is None:
        process = caller.state[PROCESS] = begin(wasi)
    return process


def _bind_plain(signature: Signature, wasi: Wasi) -> Callable[..., int | Awaitable[int]]:
    masks = [_MASKS[kind] for kind in signature.params]
    function = signature.function

    def call(caller: Caller, *args: int) -> int | Awaitable[int]:
        process = _process_of(caller, wasi)
        try:
            function(process, caller.memory, *map(and_, args, masks))
        except (WasiError, GuestMemoryError, OSError) as error:
            return _errno(error)
        except TakesLong as long:
            return apart(process, long.device, caller.memory, *args)
        return 0

    async def apart(process: Process, device: int, memory: Memory, *args: int) -> int:
        try:
            await run_apart(process, device, function, memory, tuple(map(and_, args, masks)))
        except (WasiError, GuestMemoryError, OSError) as error:
            return _errno(error)
        return 0

    return call


def _bind_async(signature: Signature, wasi: Wasi) -> Callable[..., Awaitable[int]]:
    masks = [_MASKS[kind] for kind in signature.params]
    function = signature.function

    async def call(caller: Caller, *args: int) -> int:
        process = _process_of(caller, wasi)
        try:
            await function(process, caller.memory, *map(and_, args, masks))
        except (WasiError, GuestMemoryError, OSError) as error:
            return _errno(error)
        return 0

    return call


def _bind_waiting(signature: Signature, wasi: Wasi) -> Callable[..., Awaitable[int]]:
    """As `bind`, where the call or the guest's first one may wait for a file system."""
    masks = [_MASKS[kind] for kind in signature.params]
    function = signature.function

    async def call_waiting(caller: Caller, *args: int) -> int:
        process: Process | None = caller.state.get(PROCESS)
        if process is None:
            try:
                process = caller.state[PROCESS] = await begin_apart(wasi)
            except TooManyAbandoned as error:
                if not signature.results:  # proc_exit has no error number
                    raise
                return errno_of(error)
        numbers = tuple(map(and_, args, masks))
        device = _device(process, signature, numbers)
        try:
            try:
                if device is None:
                    done = function(process, caller.memory, *numbers)
                    if done is not None:
                        await done
            except TakesLong as long:
                device = long.device
            if device is not None:
                await run_apart(process, device, function, caller.memory, numbers)
        except (WasiError, GuestMemoryError, OSError) as error:
            return _errno(error)
        return 0

    return call_waiting


def _device(process: Process, signature: Signature, args: Sequence[int]) -> int | None:
    """Where the call may wait; None if it does not."""
    for position in signature.files:
        descriptor = process.descriptors.find(args[position])
        if descriptor is not None and (descriptor.may_wait or signature.waits):
            return descriptor.device
    return None


def _errno(error: WasiError | GuestMemoryError | OSError) -> int:
    if isinstance(error, WasiError):
        return error.errno
    return Errno.FAULT if isinstance(error, GuestMemoryError) else errno_of(error)


def wasi_imports(wasi: Wasi, names: Iterable[str] = FUNCTIONS) -> Sequence[HostFunction]:
    """Functions of ``wasi_snapshot_preview1``, for the instances of one module.

    To make all of them takes a millisecond, in which a loop in another thread may have to wait.
    What belongs to one instance (its descriptors, half a line of output) is in ``caller.state``
    from its first WASI call on, and ends with the instance.
    """
    return [
        host_function(MODULE, name, params=FUNCTIONS[name].params, results=FUNCTIONS[name].results)(
            bind(FUNCTIONS[name], wasi)
        )
        for name in names
    ]
