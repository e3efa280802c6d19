"""Which hosts and addresses a plugin may reach."""

from __future__ import annotations

from typing import Any

import pytest

from wasmpool._http.policy import HttpPolicy, host_is_listed, is_global

GLOBAL = """
    8.8.8.8 1.1.1.1 2606:4700::1111 2a00:1450:4001:82a::200e
    ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::1
""".split()

LOCAL = """
    0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 127.0.0.1 127.1.2.3 169.254.169.254 172.16.0.1 192.0.0.1
    192.0.2.1 192.168.0.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255
    :: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:0:127.0.0.1
    64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::808:808 100::1
    2001:0:4136:e378:8000:63bf:3fff:fdd2
    2001:db8::1 2002:7f00:1::1 2002:a00:1::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1
    fe80::1%lo fec0::1 ff02::1
""".split()


@pytest.mark.parametrize("address", GLOBAL)
def test_global(address: str) -> None:
    """The public internet, also where IPv6 carries one of its IPv4 addresses."""
    assert is_global(address)


@pytest.mark.parametrize("address", LOCAL)
def test_not_global(address: str) -> None:
    """Whatever only this machine or its network reaches, however it is written."""
    assert not is_global(address)


@pytest.mark.parametrize(
    ("host", "listed"),
    [
        ("api.example.com", True),
        ("API.Example.COM", True),
        ("api.example.com.", True),
        ("example.com", False),
        ("xapi.example.com", False),
        ("api.example.com.evil.net", False),
        ("a.b.net", True),
        ("a.a.b.net", True),
        ("b.net", False),
        ("xb.net", False),
        ("bücher.example", True),
        ("xn--bcher-kva.example", True),
        ("[::1]", True),
        ("::1", True),
        ("", False),
        ("straße.example", True),
        ("xn--strae-oqa.example", True),
        ("strasse.example", False),
        ("a.faß.example", True),
        ("a.fass.example", False),
        ("bücher。example", True),
        ("BÜCHER.EXAMPLE.", True),
        ("bаcher.example", False),
        ("0:0::1", True),
        ("192.0.2.1", True),
        ("0xc0.0.513", True),
        ("3221225985", True),
        ("192.0.2.2", False),
        ("api.example.com:443", False),
        ("user@api.example.com", False),
        ("api.%65xample.com", False),
        ("api..example.com", False),
        (".b.net", False),
        ("a.b.net\n", False),
        ("::1%lo", False),
    ],
)
def test_allow_hosts(host: str, listed: bool) -> None:
    """Names are compared whole and without case; a star stands for what is below a name."""
    allowed = ["api.example.com", "*.b.net", "bücher.example", "[::1]"]
    allowed += ["straße.example", "*.faß.example", "192.0.2.1"]
    policy = HttpPolicy(allow_hosts=allowed)
    assert host_is_listed(host, policy.allow_hosts) is listed


def test_none_allows_every_host_and_an_empty_list_none() -> None:
    """They are not the same."""
    assert host_is_listed("any.example", HttpPolicy().allow_hosts)
    assert not host_is_listed("any.example", HttpPolicy(allow_hosts=()).allow_hosts)


def test_an_entry_that_can_be_no_host_is_named() -> None:
    """With the reason, and how to write it."""
    with pytest.raises(ValueError, match=r"'a\.\.b' is not a host name: it has an empty label"):
        HttpPolicy(allow_hosts=["a..b"])
    with pytest.raises(ValueError, match=r"write '8\.0\.0\.1' instead of '010\.0\.0\.1'"):
        HttpPolicy(allow_hosts=["010.0.0.1"])


@pytest.mark.parametrize(
    ("knob", "value", "error"),
    [
        ("allow_hosts", "example.com", TypeError),
        ("allow_hosts", 1, TypeError),
        ("allow_hosts", [1], TypeError),
        ("allow_hosts", ["https://example.com"], ValueError),
        ("allow_hosts", ["example.com:443"], ValueError),
        ("allow_hosts", ["*"], ValueError),
        ("allow_hosts", [""], ValueError),
        ("allow_hosts", ["ok.example", "*."], ValueError),
        ("allow_hosts", ["*.*.example.com"], ValueError),
        ("allow_hosts", ["api.*.com"], ValueError),
        ("allow_hosts", ["*.127.0.0.1"], ValueError),
        ("allow_hosts", ["*.[::1]"], ValueError),
        ("allow_hosts", ["[example.com]"], ValueError),
        ("allow_hosts", ["user@example.com"], ValueError),
        ("allow_hosts", ["example.com/path"], ValueError),
        ("allow_hosts", ["ex%61mple.com"], ValueError),
        ("allow_hosts", ["a b"], ValueError),
        ("allow_hosts", ["a..b"], ValueError),
        ("allow_hosts", ["a" * 64], ValueError),
        ("allow_hosts", ["a." * 128], ValueError),
        ("allow_hosts", ["☃.example"], ValueError),
        ("allow_hosts", ["xn--a.example"], ValueError),
        ("allow_hosts", ["fe80::1%eth0"], ValueError),
        ("allow_hosts", ["10.0.0.0/8"], ValueError),
        ("allow_hosts", ["010.0.0.1"], ValueError),
        ("allow_hosts", ["127.1"], ValueError),
        ("allow_hosts", ["2130706433"], ValueError),
        ("allow_private", 1, TypeError),
        ("max_response", 0, ValueError),
        ("max_response", 1.5, TypeError),
        ("default_timeout", 0, ValueError),
        ("default_timeout", "1", TypeError),
        ("max_timeout", float("inf"), ValueError),
    ],
)
def test_a_wrong_knob_is_named(knob: str, value: Any, error: type[Exception]) -> None:
    """With what it was set to."""
    with pytest.raises(error, match=f"HttpPolicy\\.{knob}"):
        HttpPolicy(**{knob: value})
