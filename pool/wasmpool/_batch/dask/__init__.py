"""Chunks of lines, done by the workers of a cluster of Dask."""
