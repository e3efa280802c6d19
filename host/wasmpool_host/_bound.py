"""An export of one instance, made ready to be called with no work done twice."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, final

from . import _capi

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._pace import Pace
    from ._signature import Results, Signature

__all__ = ["Bound"]


@final
class Bound:
    """A function in a store: its address, the buffers for its values, and the call itself.

    The buffers belong to it alone, so every argument of the C function is a constant: a call
    writes the values and makes the future.
    """

    __slots__ = ("_args", "_extern", "_results", "begin", "label", "pace", "signature")

    def __init__(
        self, store: _capi.Store, extern: Any, signature: Signature, pace: Pace, label: str
    ) -> None:
        self._extern = extern  # the address of the function is inside it
        self._args = signature.params.buffer()
        self._results = signature.results.buffer()
        self.signature = signature
        self.pace = pace
        self.label = label
        self.begin = partial(
            _capi.call_async,
            store.context, _capi.func_at(extern),
            _capi.address(self._args), signature.params.count,
            _capi.address(self._results), signature.results.count,
            store.trap_at, store.error_at,
        )  # fmt: skip

    def put(self, args: Sequence[object]) -> None:
        """Write the arguments; raises TypeError or ValueError that names the one that is wrong."""
        self.signature.params.put(self._args, args, self.label)

    def take(self) -> Results:
        return self.signature.take_results(self._results)
