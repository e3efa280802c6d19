"""Benchmarks: each measures wasmpool and its peers in the same run, and prints ratios."""
