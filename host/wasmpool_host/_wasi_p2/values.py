"""The values of WIT types that have no form of their own in Python."""

from __future__ import annotations

from typing import Any

import attrs


@attrs.frozen
class Ok:
    value: Any = None


@attrs.frozen
class Err:
    value: Any = None


@attrs.frozen
class Variant:
    case: str
    value: Any = None
