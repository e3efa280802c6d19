from __future__ import annotations

import attrs

from wasmpool._cli.preview import PREVIEW_ROWS, Preview


@attrs.define
class FakeTerminal:
    written: list[bytes] = attrs.field(factory=list[bytes])
    name: str = "fake terminal"
    is_terminal: bool = True

    async def write(self, data: bytes, /) -> None:
        self.written.append(data)


async def test_the_first_rows_are_shown_and_the_others_dropped() -> None:
    """Counted over writes; behind the last one the terminal is the progress bar's."""
    terminal = FakeTerminal()
    preview = Preview(terminal)
    await preview.write(b"0\n1\n")
    assert preview.is_terminal
    await preview.write(b"".join(b"%d\n" % n for n in range(2, 100)))
    assert not preview.is_terminal
    await preview.write(b"100\n")
    shown = b"".join(terminal.written)
    assert shown == b"".join(b"%d\n" % n for n in range(PREVIEW_ROWS))
    assert len(terminal.written) == 2
    assert preview.name == "fake terminal"
