"""WASI preview 2 for components that are not trusted: they can access only what `Wasi` grants.

The contract is the WIT of the packages ``wasi:io``, ``wasi:clocks``, ``wasi:random``, ``wasi:cli``,
``wasi:filesystem``, ``wasi:sockets`` and ``wasi:http``, version 0.2.12. Later ones of 0.2 may only
add to it. Where it is not precise, the results are those of Wasmtime's own implementation on Linux,
because guests are usually tested with it.

It is the other face of `_wasi`: files, directories, streams, clocks and the process are those of
preview 1. `interfaces` has the functions by their names in WIT.
"""
