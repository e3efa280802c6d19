"""The kernel's blocks, for host functions of module ``extism:host/env``."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from .kernel import kernel_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from wasmpool_host._instance.caller import Caller

    from .blocks import Blocks

__all__ = ["KernelAccess"]


@final
class KernelAccess:
    """What the host function of one call does with the blocks of the guest that called it.

    Raises:
        TypeError: the guest has no kernel: `compile_extism` did not compile it.
        RuntimeError: at each use after the host function has returned.
    """

    __slots__ = ("_caller", "_kernel")

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._kernel = kernel_of(caller._guest.companion)  # noqa: SLF001 - it is the host's own

    @property
    def _blocks(self) -> Blocks:
        """The blocks, for as long as the host function runs: the store may be gone then."""
        self._caller._check()  # noqa: SLF001 - it is the host's own
        return self._kernel.blocks

    def length(self, offset: int) -> int:
        """Return a block's length in bytes, or 0 where none begins."""
        return self._blocks.length(offset)

    def read(self, what: str, offset: int, most: int) -> bytes:
        """Copy a block out; offset 0 is an empty one.

        Raises:
            GuestMemoryError: no block begins there, or it is longer than ``most`` bytes; ``what``
                begins the message.
        """
        return self._blocks.read_block(what, offset, most)

    def read_start(self, what: str, offset: int, most: int) -> tuple[bytes, int]:
        """Copy the first ``most`` bytes of a block out; return them, and the block's length.

        Raises:
            GuestMemoryError: no block begins there; ``what`` begins the message.
        """
        return self._blocks.read_start(what, offset, most)

    @property
    def largest(self) -> int:
        """Bytes that no block exceeds."""
        return self._kernel.largest

    @property
    def call_number(self) -> int:
        """Another number in each call of the guest from outside."""
        return self._blocks.call_number()

    def give(self, data: bytes, *freed: int) -> int | Awaitable[int]:
        """Free blocks, and make one of ``data``; what is no block is left alone.

        Returns:
            The offset of the block, 0 for no bytes; it is what a host function returns. It is an
            awaitable where the kernel's memory has to grow for it, which raises GuestMemoryError if
            there is no room. A cancel ends the guest's call.
        """
        given = self._blocks.give(data, freed)
        return given if given is not None else self._caller._alloc(data)  # noqa: SLF001 - as above

    def free(self, *offsets: int) -> None:
        """Free blocks; what is no block is left alone."""
        self._blocks.give(b"", offsets)
