"""What a worker is told besides the lines, and how it answers that it cannot do them."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from wasmpool._batch.job import Job

__all__ = ["Recipe", "Refusal"]


@final
@attrs.frozen(kw_only=True)
class Recipe:
    """What is done with each line, and with which module."""

    job: Job
    """What each thread of a worker does: its instances and calls are for one thread."""
    module_digest: str
    """The SHA-256 of the module, which is sent apart."""


@final
@attrs.frozen
class Refusal:
    """The answer of a worker that cannot open the module."""

    why: str
