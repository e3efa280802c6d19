"""Secrets are taken out of a text that a guest gives as a reason: ``invalid token: ***``.

Guests like to repeat what they were given. A host writes such a text to its log, and shows it to
people who may not see the secret. A guest that wants to give its secrets away has other ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["masked_start"]

_MASK: Final = b"***"
_SHORTEST: Final = 4
"""Bytes. A shorter value is hardly a secret, and would be found within ordinary words."""


def masked_start(text: bytes, secrets: Iterable[str], longest: int) -> bytes:
    """Return at most the first ``longest`` bytes of a text, with a mask for each secret in it."""
    found = sorted((each for each in map(_encoded, secrets) if len(each) >= _SHORTEST), key=len)
    # A secret that begins within the start is in this part as a whole.
    part = text[: longest + len(found[-1]) if found else longest]
    for secret in reversed(found):  # the longest first: a shorter one may be a part of it
        part = part.replace(secret, _MASK)
    return part[:longest]


def _encoded(secret: str) -> bytes:
    return secret.encode(errors="surrogatepass")
