"""The one form of a host's name."""

from __future__ import annotations

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as some

from wasmpool._http.host_name import host_name, is_address

LABEL = "a" * 63


@pytest.mark.parametrize(
    ("given_", "form"),
    [
        ("api.example.com", "api.example.com"),
        ("API.Example.COM.", "api.example.com"),
        ("localhost", "localhost"),
        ("my_service.internal", "my_service.internal"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("STRASSE.example", "strasse.example"),
        ("ＡＰＩ．example。com｡", "api.example.com"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("ΟΔΟΣ.example", "xn--pxavbq.example"),  # as the client sends them: a sigma,
        ("ΟΔΟΣ", "xn--pxavbm"),  # and a final sigma
        ("аpple.example", "xn--pple-43d.example"),  # the first letter is Cyrillic
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("127。0。0。1", "127.0.0.1"),
        ("１２７.0.0.1", "127.0.0.1"),
        ("0", "0.0.0.0"),  # noqa: S104 - nothing is bound
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0X7F.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("[2001:DB8::0:1]", "2001:db8::1"),
        (f"{LABEL}.{LABEL}.{LABEL}.{'a' * 61}.", f"{LABEL}.{LABEL}.{LABEL}.{'a' * 61}"),
    ],
)
def test_a_host_has_one_form(given_: str, form: str) -> None:
    """However it is written; and the form is its own form."""
    assert host_name(given_) == form
    assert host_name(form) == form


@pytest.mark.parametrize(
    ("given_", "why"),
    [
        ("", "empty"),
        (".", "empty label"),
        ("a..b", "empty label"),
        (".a", "empty label"),
        ("a.b..", "empty label"),
        ("a b", "letters, digits"),
        (" a", "letters, digits"),
        ("a\n", "letters, digits"),
        ("a\x00", "letters, digits"),
        ("-a.example", "letters, digits"),
        ("a-.example", "letters, digits"),
        ("ex%61mple.com", "letters, digits"),
        ("user@example.com", "letters, digits"),
        ("example.com/path", "letters, digits"),
        ("*.example.com", "letters, digits"),
        ("example.com:443", "no colon"),
        ("user:secret@example.com", "no colon"),
        ("https://example.com", "no colon"),
        ("[example.com]", "no colon or bracket"),
        ("[::1", "no colon or bracket"),
        ("[::1]:443", "no colon or bracket"),
        ("[]", "no colon or bracket"),
        ("::1::", "not an IPv6 address"),
        ("fe80::1%eth0", "zone"),
        ("[fe80::1%25eth0]", "zone"),
        ("256.0.0.1", "too large"),
        ("1.2.3.256", "too large"),
        ("4294967296", "too large"),
        ("1.2.3.4.5", "not an IPv4 address"),
        ("example.1", "not an IPv4 address"),
        ("1..2", "not an IPv4 address"),
        ("08.0.0.1", "octal"),
        ("9" * 400, "not an IPv4 address"),
        ("☃.example", "IDNA 2008"),
        ("a\u200db.example", "IDNA 2008"),
        ("\ud800.example", "IDNA 2008"),
        ("xn--a.example", "IDNA 2008"),
        ("xn--abc-.example", "letters, digits"),
        ("a" * 64, "up to 63"),
        (f"{LABEL}.{LABEL}.{LABEL}.{'a' * 62}", "longer than 253"),
        ("a." * 300, "longer than 253"),
    ],
)
def test_what_is_no_host_is_refused_with_the_reason(given_: str, why: str) -> None:
    """Nothing that could mean one host here and another one elsewhere."""
    with pytest.raises(ValueError, match=why):
        host_name(given_)


def test_an_address_is_told_from_a_name() -> None:
    """In the one form."""
    assert is_address("127.0.0.1")
    assert is_address("::1")
    assert not is_address("1.example")
    assert not is_address("localhost")


@given(
    some.text(max_size=20)
    | some.from_regex(r"[a-zA-Zß0-9àΣςſ。.xX_-]{1,20}", fullmatch=True)
    | some.text(some.characters(categories=("Ll", "Lu", "Mn", "Nd")), max_size=12)
)
def test_it_is_the_form_that_the_client_sends(given_: str) -> None:
    """What httpx2 makes of a URL's host has the form of the host, or is refused there or here."""
    try:
        sent = httpx2.URL(f"http://{given_}/").raw_host.decode()
        asked = httpx2.URL(f"http://{given_}/").host
    except (httpx2.InvalidURL, UnicodeError):
        return
    if not sent or any(sign in given_ for sign in "/?#@:[\\"):
        return  # another part of the URL
    try:
        form = host_name(given_)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            host_name(sent)
        return
    assert form == host_name(sent), asked


@given(some.text(max_size=300))
def test_a_form_is_ascii_and_its_own_form(given_: str) -> None:
    """For whatever has one, and nothing but ValueError comes out for what has none."""
    try:
        form = host_name(given_)
    except ValueError:
        return
    assert form.isascii()
    assert host_name(form) == form
