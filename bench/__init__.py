"""Benchmarks: each measures wasmpool and what it is compared with in one run, and prints ratios."""
