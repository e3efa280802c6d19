"""The guests answer here as they answer Extism's own SDK."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from tests.extism.comparison import Compared, compare
from tests.extism.sdk import is_installed
from tests.extism.stories import EXPORTS

pytestmark = pytest.mark.skipif(
    not is_installed(), reason="asks Extism's own SDK: install the extra bench"
)

GUESTS: Final = Path(__file__).parent.parent / "guests"


@pytest.mark.parametrize("guest", ["extism_zig.wasm", "extism_c.wasm"])
async def test_a_guest_answers_as_under_extisms_sdk(guest: str, compared: Compared) -> None:
    """Output, errors, variables, configuration, log lines, HTTP and blocks, for random calls."""
    await compare(GUESTS / guest, EXPORTS, range(4), compared)


@pytest.mark.slow
@pytest.mark.parametrize("guest", ["extism_zig.wasm", "extism_c.wasm", "extism_go.wasm"])
async def test_a_guest_answers_hundreds_of_calls_as_under_extisms_sdk(
    guest: str, compared: Compared
) -> None:
    """The same for a thousand calls of each guest."""
    await compare(GUESTS / guest, EXPORTS, range(100, 150), compared)
