from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wasmpool import HttpPolicy, Limits
from wasmpool._scripts.limits import ScriptLimits
from wasmpool._serve.address import Address
from wasmpool._serve.config_file import Arguments, build_config, read_file
from wasmpool._serve.table import ConfigError
from wasmpool.example import PATH as EXAMPLE

if TYPE_CHECKING:
    from wasmpool._serve.config import Config

FILE = "/somewhere/serve.toml"


def read(text: str, **arguments: object) -> Config:
    return build_config(Arguments(file=FILE, **arguments), text.encode())  # type: ignore[arg-type]


def refusal(text: str, **arguments: object) -> str:
    with pytest.raises(ConfigError) as refused:
        read(text, **arguments)
    return str(refused.value)


PLUGIN = '[plugins.a]\nsource = "a.wasm"\n'


def test_a_whole_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key of the documentation is read, and paths begin at the file's directory."""
    monkeypatch.setenv("SERVE_TOKEN", "s3cret")
    monkeypatch.setenv("GITHUB_TOKEN", "gh-pat")
    config = read("""
        [server]
        http = "0.0.0.0:8000"
        token = "env:SERVE_TOKEN"
        hosts = ["tools.example.com"]
        origins = ["https://app.example.com"]
        workers = 2
        grace = 5
        tools = "search"
        scripts = true
        directories = ["more", "/elsewhere"]
        [scripts]
        seconds = 5
        memory = "128MiB"
        [defaults]
        size = 4
        pristine = true
        cache = "compiled"
        limits = { memory = "64MiB", payload = 1000 }
        [plugins.github]
        source = "plugins/github.wasm"
        sha256 = "ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789"
        allow_hosts = ["api.github.com"]
        tools = ["github_*"]
        prefix = "gh_"
        credentials = { token = "env:GITHUB_TOKEN", user = "me" }
        limits = { call_seconds = 60 }
        size = 2
        max_wait = 1.5
        max_memory = "1GiB"
    """)
    server = config.server
    assert str(server.http) == "0.0.0.0:8000"
    assert (server.token, server.workers, server.grace) == ("s3cret", 2, 5)
    assert (server.tools, server.scripts) == ("search", True)
    assert server.script_limits == ScriptLimits(seconds=5, memory=128 << 20)
    assert (server.hosts, server.origins) == (
        ("tools.example.com",),
        ("https://app.example.com",),
    )
    assert config.directories == (Path("/somewhere/more"), Path("/elsewhere"))
    assert config.defaults == {
        "size": 4,
        "pristine": True,
        "cache": Path("/somewhere/compiled"),
        "limits": Limits(memory=64 << 20, payload=1000),
    }
    plugin = config.plugins["github"]
    assert plugin.source == Path("/somewhere/plugins/github.wasm")
    assert plugin.sha256 == "abcdef0123456789" * 4
    assert (plugin.tools, plugin.prefix) == (("github_*",), "gh_")
    assert plugin.credentials == {"token": "gh-pat", "user": "me"}
    assert plugin.options == {
        **config.defaults,
        "size": 2,
        "max_wait": 1.5,
        "max_memory": 1 << 30,
        "http": HttpPolicy(allow_hosts=["api.github.com"]),
        "limits": Limits(memory=64 << 20, payload=1000, call_seconds=60),
    }


def test_no_secret_is_in_a_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration may come into a traceback or a log."""
    monkeypatch.setenv("SECRET", "hidden")
    config = read(
        f'[server]\ntoken = "env:SECRET"\n{PLUGIN}'
        'credentials = { a = "env:SECRET", b = "hidden" }'
    )
    assert config.server.token == os.environ["SECRET"]
    assert "hidden" not in repr(config)


def test_a_plugin_reaches_no_host_unless_it_is_listed() -> None:
    """Neither by default, nor by an empty list, nor because private addresses are allowed."""
    for line in ("", "allow_hosts = []", "allow_private = true"):
        assert read(PLUGIN + line).plugins["a"].options.get("http") is None
    defaults = '[defaults]\nallow_hosts = ["a.example"]\n'
    assert read(f"{defaults}{PLUGIN}allow_hosts = []").plugins["a"].options.get("http") is None
    inherited = read(f"{defaults}{PLUGIN}allow_private = true").plugins["a"].options.get("http")
    assert inherited == HttpPolicy(allow_hosts=["a.example"], allow_private=True)


def test_without_arguments_the_example_is_served() -> None:
    """Over the standard streams."""
    config = build_config(Arguments(), None)
    assert config.server.http is None
    assert {name: plugin.source for name, plugin in config.plugins.items()} == {"example": EXAMPLE}


def test_arguments_come_before_the_file(tmp_path: Path) -> None:
    """Paths are added to what the file names; a directory is watched."""
    config = read(
        '[server]\nhttp = "127.0.0.1:1"\nworkers = 3\n[defaults]\nsize = 3\n' + PLUGIN,
        paths=(str(tmp_path), "/x/b.wasm"),
        http=Address("::1", 2),
        workers=1,
        tools="search",
        scripts=True,
    )
    assert config.server.http == Address("::1", 2)
    assert (config.server.workers, config.server.tools, config.server.scripts) == (
        1,
        "search",
        True,
    )
    assert config.plugins.keys() == {"a", "b"}
    assert config.plugins["b"].options == {"size": 3}
    assert config.directories == (tmp_path,)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[servr]", "servr: there is no such key; did you mean server? There are: server, def"),
        ("[x]", "x: there is no such key; there are: server, defaults, plugins"),
        (f"{PLUGIN}sze = 1", "plugins.a.sze: there is no such key; did you mean size? There are: "),
        ("[server]\nhttps = 1", "server.https: there is no such key; did you mean http? There"),
        ("[defaults]\nsource = 'x'", "defaults.source: there is no such key; there are: size, "),
        (f"{PLUGIN}limits = {{ mem = 1 }}", "plugins.a.limits.mem: there is no such key; did you"),
        ("server = 1", "server: must be a table"),
        ("plugins = []", "plugins: must be a table"),
        ("[plugins]\na = 'x'", "plugins.a: must be a table"),
        ("[plugins.a]", "plugins.a.source: is missing: the path of the plugin's file"),
        ("[plugins.a]\nsource = ''", "plugins.a.source: must not be empty"),
        ('[plugins."a b"]', 'plugins."a b".source: is missing'),
        ("[plugins.\"a\\u001b\"]\nsource = 'x'", 'plugins."a\\x1b": name must have no control'),
        ("[plugins.' ']\nsource = 'x'", "name must not be blank"),
        (f"{PLUGIN}size = '8'", "plugins.a.size: must be a whole number, not a string"),
        (f"{PLUGIN}size = true", "plugins.a.size: must be a whole number, not true or false"),
        (f"{PLUGIN}size = 0", "plugins.a: size must be at least 1, not 0"),
        (f"{PLUGIN}size = -1", "plugins.a.size: must be 0 or more, not -1"),
        (f"{PLUGIN}pristine = 1", "plugins.a.pristine: must be true or false, not a whole"),
        (f"{PLUGIN}pristine = true\nmax_uses = 3", "plugins.a: max_uses=3 and pristine=True"),
        (f"{PLUGIN}max_wait = nan", "plugins.a.max_wait: must be a finite number of seconds"),
        (
            f"{PLUGIN}max_wait = 1{'0' * 400}",
            "plugins.a.max_wait: must be at most 1,000,000,000 seconds",
        ),
        (f"{PLUGIN}tools = 'x'", "plugins.a.tools: must be an array of strings, not a string"),
        (f"{PLUGIN}tools = ['x', 1]", "must be an array of strings; one of them is a whole"),
        (f"{PLUGIN}sha256 = 'abc'", "plugins.a.sha256: must be a SHA-256 of 64 hexadecimal"),
        (f"{PLUGIN}limits = {{ memory = '3MB' }}", "plugins.a.limits.memory: is not a size: '3MB"),
        (f"{PLUGIN}limits = {{ memory = '9999GiB' }}", "plugins.a: Limits.memory must be from 0"),
        (f"{PLUGIN}limits = {{ call_seconds = 0 }}", "plugins.a: Limits.call_seconds must be abo"),
        (f"{PLUGIN}allow_hosts = ['https://x']", "plugins.a: HttpPolicy.allow_hosts: 'https://x"),
        (f"{PLUGIN}source = 1", "it is not TOML: Cannot overwrite a value"),
        (f"{PLUGIN}credentials = 'x'", "plugins.a.credentials: must be a table"),
        (f"{PLUGIN}prefix = 2026-01-01", "plugins.a.prefix: must be a string, not a date or a ti"),
        (f"{PLUGIN}prefix = 'two words'", "plugins.a.prefix: must be at most 100 of the charac"),
        ("[server]\nhttp = '8000'", "server.http: must be HOST:PORT, such as 127.0.0.1:8000"),
        ("[server]\nhttp = '[::1:80'", "server.http: must be HOST:PORT"),
        ("[server]\nhttp = 'a:70000'", "server.http: must be HOST:PORT"),
        ("[server]\nworkers = 0", "server.workers: must be from 1 to 256, not 0"),
        ("[server]\ntools = 'all'", "server.tools: must be 'plain' or 'search', not 'all'"),
        ("[server]\ngrace = '1'", "server.grace: must be a number of seconds, not a string"),
        (f"[server]\ngrace = {10**400}", "server.grace: must be at most 1,000,000,000 seconds"),
        ("[server]\nhosts = ['*']", "server.hosts: must be names or addresses"),
        ("[server]\norigins = ['a']", "server.origins: must be origins"),
        ("[server]\ngrace = -1", "server.grace: must be 0 or more seconds, not -1"),
        ("[scripts]\nsecs = 1", "scripts.secs: there is no such key; did you mean seconds? There"),
        ("[scripts]\nmemory = 1", "scripts: ScriptLimits.memory must be from 67,108,864 to "),
        (f"[server]\nworkers = 2\n{PLUGIN}", "2 workers need an address"),
        (f"[server]\nhttp = '0.0.0.0:80'\n{PLUGIN}", "0.0.0.0:80 can be reached by other machines"),
        (f"[server]\nhttp = '[::]:80'\n{PLUGIN}", "[::]:80 can be reached by other machines, so"),
        (f"[server]\nhttp = 'example.com:80'\n{PLUGIN}", "a token is required: set token in the"),
        ("", "serve.toml: it names no plugin and no directory"),
        ("a =", "it is not TOML: Invalid value (at end of document)"),
        (f"x = {'[' * 100_000}", "it is too deep"),
        ("a.b = 1\n" * 2, "it is not TOML"),
        (f"{'k' * 5000} = 1", 'kkk...": there is no such key'),
    ],
)
def test_what_cannot_be_used_is_named(text: str, sentence: str) -> None:
    """The file, the key's path, and what there is."""
    said = refusal(text)
    assert sentence in said
    assert said.startswith("serve.toml: ") or "workers need" in said or "a token is" in said
    assert "\n" not in said
    assert len(said) < 1000


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[server]\ntoken = {}", "server.token"),
        (PLUGIN + "credentials = {{ key = {} }}", "plugins.a.credentials.key"),
    ],
)
def test_a_secret_that_is_missing_names_its_variable(
    text: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a value nothing is ever shown, not even of one that is wrong."""
    monkeypatch.delenv("NOT_SET", raising=False)
    missing = refusal(text.format('"env:NOT_SET"'))
    assert missing == f"serve.toml: {key}: the environment variable 'NOT_SET' is not set"
    wrong = refusal(text.format("12345678"))
    assert wrong == f"serve.toml: {key}: must be a string, not a whole number"
    monkeypatch.setenv("BROKEN", "\udcff-sesame")
    broken = refusal(text.format('"env:BROKEN"'))
    assert broken.startswith(f"serve.toml: {key}: ")
    assert "sesame" not in broken


@pytest.mark.parametrize("token", ["", "with space", "line\\nbreak", "naïve", "x" * 1001])
def test_a_token_that_no_header_can_hold_is_refused(token: str) -> None:
    """An empty one, too: it would be no protection."""
    said = refusal(f'[server]\ntoken = "{token}"\n{PLUGIN}')
    assert said == "serve.toml: server.token: must be 1 to 1000 visible characters of ASCII"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "[::1]"])
def test_loopback_needs_no_token(host: str) -> None:
    """Other machines cannot reach it."""
    assert read(f"[server]\nhttp = '{host}:80'\n{PLUGIN}").server.token is None


def test_two_plugins_of_one_name_are_refused() -> None:
    """An argument must not replace a plugin of the file."""
    said = refusal(PLUGIN, paths=("/x/a.wasm",))
    assert said.startswith("/x/a.wasm: there are two plugins 'a'")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a directory, a named pipe without a writer, not UTF-8, or too large."""
    pipe, large, latin = tmp_path / "pipe", tmp_path / "large", tmp_path / "latin.toml"
    os.mkfifo(pipe)
    large.write_bytes(b"#" * (1 << 20) + b"#")
    latin.write_bytes(b"# a\n# \xe9\n")
    for path, why in [
        (tmp_path / "missing", "it cannot be read: No such file or directory"),
        (tmp_path, "it cannot be read: Is a directory"),
        (pipe, "it is not a regular file"),
        (large, "it is larger than 1,048,576 bytes"),
    ]:
        with pytest.raises(ConfigError) as refused:
            read_file(str(path))
        assert str(refused.value) == f"{path}: {why}"
    with pytest.raises(ConfigError, match="latin.toml: line 2 is not UTF-8"):
        build_config(Arguments(file=str(latin)), read_file(str(latin)))
