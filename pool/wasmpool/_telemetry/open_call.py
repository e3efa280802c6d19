"""The span of one call, from its beginning to its end.

It is a child of the span that is current in the calling task, and is current itself during the
call: so what a host function does is below it. Calls nest in a task, where a host function calls,
so each knows the one around it.
"""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING, final

from opentelemetry import context, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from .label import label

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer
    from opentelemetry.util.types import AttributeValue

__all__ = ["OpenCall"]


@final
class OpenCall:
    """A call that has begun, with its span."""

    __slots__ = ("_began", "_span", "_token", "_tracer", "_waits", "outer")

    def __init__(
        self,
        tracer: Tracer,
        name: str,
        attributes: dict[str, AttributeValue],
        outer: OpenCall | None,
    ) -> None:
        """Begin the span, and make it the current one of the task."""
        self._tracer = tracer
        self._began = time_ns()
        self._span = tracer.start_span(
            name, kind=SpanKind.INTERNAL, attributes=attributes, start_time=self._began
        )
        self._token: Token[Context] = context.attach(trace.set_span_in_context(self._span))
        self._waits = True
        self.outer: OpenCall | None = outer
        """The call in whose host function this one is made."""

    def granted(self, instance: int) -> None:
        """Note that it has an instance: the wait, which began with the call, is a span."""
        if not self._waits:  # a lease of a host function
            return
        self._waits = False
        if not self._span.is_recording():
            return
        self._span.set_attribute("instance", instance)
        around = trace.set_span_in_context(self._span)
        wait = self._tracer.start_span("wasmpool.wait", around, start_time=self._began)
        wait.end()

    def end(self, error: BaseException | None) -> None:
        """End the span. Of an error only the class is kept: its text may hold what was passed."""
        if error is not None and self._span.is_recording():
            kind = type(error)
            self._span.set_attribute("error.type", label(f"{kind.__module__}.{kind.__qualname__}"))
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()
        context.detach(self._token)
