"""A script, not a module: compile what is on stdin, and write the code to stdout.

``python compile_subprocess.py LIBRARY module|component NAME=0|1 ...``: Wasmtime's shared library,
what is compiled, and the engine's settings. The exit status is not 0 if it is invalid or cannot be
compiled. The script runs with a low priority, and imports almost nothing, so that it starts fast.

The C API: https://github.com/bytecodealliance/wasmtime/tree/main/crates/c-api/include.
"""

from __future__ import annotations

import ctypes
import os
import sys

PRIORITY = 10
"""The nice value: a ninth of a computing guest's CPU share. A lower priority does not make calls
faster, and with this one the compilation finishes."""

Pointer = ctypes.c_void_p


class ByteVec(ctypes.Structure):
    """``wasm_byte_vec_t``."""

    _fields_ = (("size", ctypes.c_size_t), ("data", Pointer))


def main(library: str, what: str, *settings: str) -> int:
    """Compile, and return the exit status."""
    os.nice(PRIORITY)
    c_api = ctypes.CDLL(library)
    compile_, write = f"wasmtime_{what}_new", f"wasmtime_{what}_serialize"
    for name in ("wasm_config_new", "wasm_engine_new_with_config", compile_, write):
        getattr(c_api, name).restype = Pointer
    config = Pointer(c_api.wasm_config_new())
    for setting in settings:
        name, _, value = setting.partition("=")
        switch = getattr(c_api, f"wasmtime_config_{name}_set")
        switch.restype = None
        switch(config, ctypes.c_bool(value == "1"))
    engine = Pointer(c_api.wasm_engine_new_with_config(config))
    binary = sys.stdin.buffer.read()
    compiled, code = Pointer(), ByteVec()
    size = ctypes.c_size_t(len(binary))
    if getattr(c_api, compile_)(engine, binary, size, ctypes.byref(compiled)):
        return 1
    if getattr(c_api, write)(compiled, ctypes.byref(code)):
        return 1
    sys.stdout.buffer.write((ctypes.c_char * code.size).from_address(code.data))
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))  # skip the interpreter's clean-up, which takes time
