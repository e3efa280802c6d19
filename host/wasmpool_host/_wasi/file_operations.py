"""Operations on an open file that may have to run in a thread, for guests of each preview."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .descriptor import Descriptor
    from .process import Process

__all__ = ["require_thread_to_close", "set_size"]


def set_size(process: Process, descriptor: Descriptor, size: int) -> None:
    """Truncate a file, or extend it with zeros."""
    if descriptor.shrinks_much(size):
        process.require_thread(descriptor)
    descriptor.set_size(size)


def require_thread_to_close(process: Process, descriptor: Descriptor) -> None:
    """Continue in a thread if closing the descriptor frees a large file."""
    if descriptor.close_frees_large_file():
        process.require_thread(descriptor)
