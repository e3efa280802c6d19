"""The command line, ``wasmpool``; it needs the extra ``cli``."""
