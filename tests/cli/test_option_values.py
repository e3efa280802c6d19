from __future__ import annotations

from typing import cast

import click
import pytest

from wasmpool._cli.option_values import (
    Directory,
    as_credentials,
    as_directories,
    as_env,
    as_hosts,
    as_size,
)

CONTEXT = cast("click.Context", None)
OPTION = cast("click.Parameter", None)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (None, None),
        ("0", 0),
        ("65536", 65536),
        ("512KiB", 512 * 1024),
        ("64MiB", 64 * 1024 * 1024),
        ("2gib", 2 * 1024**3),
    ],
)
def test_a_size_is_bytes_or_has_a_unit(text: str | None, size: int | None) -> None:
    """Units are binary ones, in upper or lower case."""
    assert as_size(CONTEXT, OPTION, text) == size


@pytest.mark.parametrize(
    "text",
    ["", "MiB", "64MB", "64 MiB", "64M", "-1", "1.5GiB", "1e6", "٣", "0x10", "1_000", "9" * 5000],
)
def test_any_other_size_is_refused_by_its_value(text: str) -> None:
    """The sentence says which forms there are; a long value is cut."""
    with pytest.raises(click.BadParameter) as refused:
        as_size(CONTEXT, OPTION, text)
    value = text if len(text) < 200 else f"{'9' * 200}... (5,000 characters)"
    said = f"'{value}' is not a size" if text else "'''' is not a size"
    assert refused.value.message.startswith(said)
    assert "such as 64MiB" in refused.value.message


def test_host_names_are_as_the_policy_takes_them() -> None:
    """Names, patterns for subdomains, and addresses."""
    names = ("api.example.com", "*.example.com", "127.0.0.1", "[::1]")
    assert as_hosts(CONTEXT, OPTION, names) == names
    assert as_hosts(CONTEXT, OPTION, ()) == ()


@pytest.mark.parametrize("name", ["", "*", "https://example.com", "example.com:80", "a.b/c", "u@h"])
def test_what_is_no_host_name_is_refused_by_its_value(name: str) -> None:
    """Among good ones, too."""
    with pytest.raises(click.BadParameter, match="is not a host name; give it without scheme"):
        as_hosts(CONTEXT, OPTION, ("good.example", name))


def test_credentials_come_from_the_command_line_or_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A value may be empty and have = in it; a key alone is looked up."""
    monkeypatch.setenv("token", "from = outside")
    monkeypatch.setenv("nothing", "")
    given = ("url=https://x/?a=b", "empty=", "token", "nothing")
    assert as_credentials(CONTEXT, OPTION, given) == {
        "url": "https://x/?a=b",
        "empty": "",
        "token": "from = outside",
        "nothing": "",
    }


def test_no_credentials_are_none() -> None:
    """So a plugin is not configured at all."""
    assert as_credentials(CONTEXT, OPTION, ()) is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("=secret",), "a credential has no name before the =; give KEY=VALUE"),
        (("",), "a credential has no name before the =; give KEY=VALUE"),
        (("unset",), "the credential 'unset' has no value: give KEY=VALUE, or set the environment"),
        (("key=secret", "key=secret"), "the credential 'key' is given twice"),
        (("key=secret\udcff",), "the credential 'key' is not UTF-8"),
    ],
)
def test_a_refused_credential_is_named_and_its_value_is_not_shown(
    given: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors end up in logs, where no secret belongs."""
    monkeypatch.delenv("unset", raising=False)
    with pytest.raises(click.BadParameter) as refused:
        as_credentials(CONTEXT, OPTION, given)
    assert refused.value.message.startswith(says)
    assert "secret" not in refused.value.message


def test_an_environment_is_read_as_credentials_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any, it is empty."""
    monkeypatch.setenv("OUTSIDE", "x")
    assert as_env(CONTEXT, OPTION, []) == {}
    assert as_env(CONTEXT, OPTION, ["A=", "OUTSIDE"]) == {"A": "", "OUTSIDE": "x"}


@pytest.mark.parametrize(
    ("text", "guest", "host", "writable"),
    [
        (".", ".", ".", False),
        (".:rw", ".", ".", True),
        ("a:/b", "/b", "a", False),
        ("a:/b:ro", "/b", "a", False),
        ("a:/b:rw", "/b", "a", True),
        ("a:rw:rw", "rw", "a", True),
        ("/a:b:/c", "/c", "/a:b", False),
    ],
)
def test_a_directory_has_a_name_here_and_one_there(
    text: str, guest: str, host: str, writable: bool
) -> None:
    """The same one unless two are given."""
    assert as_directories(CONTEXT, OPTION, [text]) == {guest: Directory(host, writable)}


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["a:"], "'a:' has an empty path"),
        ([":b"], "':b' has an empty path"),
        ([""], "has an empty path; give HOST, HOST:GUEST or HOST:GUEST:rw"),
        (["a:/x", "b:/x:rw"], "the directory '/x' is given twice"),
        (["\udcff"], "is not UTF-8; give HOST:GUEST"),
    ],
)
def test_any_other_directory_is_refused(texts: list[str], says: str) -> None:
    """In a sentence that names it."""
    with pytest.raises(click.BadParameter) as refused:
        as_directories(CONTEXT, OPTION, texts)
    assert says in refused.value.message
