from __future__ import annotations

import attrs
import pytest

from wasmpool import HttpPolicy, Limits
from wasmpool._cli.run_guest import job_of
from wasmpool._cli.run_options import RunOptions
from wasmpool._cli.wrong_use import WrongUse
from wasmpool.example import PATH as EXAMPLE
from wasmpool_host.lowlevel import Source

PLUGIN = Source.read(EXAMPLE)
OPTIONS = RunOptions(
    plugin="p.wasm", tool=None, input=None, output=None, size=3, tasks=1, timeout=None
)


def test_without_a_plugin_the_example_counts_words() -> None:
    """The default of the example is its word_count; another tool of it is chosen by name."""
    example = attrs.evolve(OPTIONS, plugin=None)
    assert job_of(example, PLUGIN).tool == "word_count"
    assert job_of(attrs.evolve(example, tool="echo"), PLUGIN).tool == "echo"
    assert job_of(OPTIONS, PLUGIN).tool is None


def test_no_host_is_allowed_unless_named() -> None:
    """Without --allow-host the plugin can reach none; with it, exactly these hosts."""
    job = job_of(attrs.evolve(OPTIONS, timeout=2.0, memory=65536), PLUGIN)
    assert (job.size, job.max_uses, job.http) == (3, None, None)
    assert job.limits == Limits(memory=65536, call_seconds=2.0)
    hosts = ("api.example.com", "*.example.org")
    allowed = job_of(attrs.evolve(OPTIONS, allow_hosts=hosts), PLUGIN)
    assert allowed.http == HttpPolicy(allow_hosts=hosts)


def test_arguments_are_for_programs() -> None:
    """A plugin is given none."""
    with pytest.raises(WrongUse, match="is a plugin, which takes no arguments"):
        job_of(attrs.evolve(OPTIONS, args=("x",)), PLUGIN)
