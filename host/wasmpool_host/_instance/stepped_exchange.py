"""An exchange of bytes that may take several crossings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .stepwise import Stepwise

if TYPE_CHECKING:
    from .pending import Pending

__all__ = ["SteppedExchange"]


class SteppedExchange(Stepwise[bytes]):
    """One instance's side of a way to exchange bytes; `start` is the way's own."""

    __slots__ = ()

    def start(self, name: str, payload: bytes | None) -> bytes | Pending:
        """Run the first slices of `Instance.exchange`; return its result, or PENDING."""
        raise NotImplementedError

    def start_settling(self) -> bytes | Pending:
        """Take what is the host's out of the guest's memory, but for `buffer`; return as `start`.

        The result is empty.
        """
        return b""

    @property
    def buffer(self) -> tuple[int, int]:
        """The host's buffer in the guest's memory, and its capacity; (0, 0) if there is none."""
        return 0, 0
