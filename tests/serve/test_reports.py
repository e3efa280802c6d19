"""The reports of several workers as one."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from wasmpool._serve.metrics import merged_metrics
from wasmpool._serve.readiness import merged_readiness

TEXT = """# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{{pool="a\\"b"}} {calls}
# HELP wait_seconds Waits.
# TYPE wait_seconds histogram
wait_seconds_bucket{{le="0.1"}} 1.0
wait_seconds_bucket{{le="+Inf"}} {calls}
wait_seconds_count {calls}
wait_seconds_sum 0.5
"""


def test_metrics_of_one_process_are_its_own() -> None:
    """Without a label."""
    assert merged_metrics({"": "calls_total 1.0\n"}) == "calls_total 1.0\n"


def test_metrics_of_workers_stand_side_by_side() -> None:
    """Each sample says whose it is; a worker that says nothing is told to be down."""
    merged = merged_metrics({"1": TEXT.format(calls=3.0), "2": TEXT.format(calls=4.0), "3": None})
    assert merged.count("# TYPE calls_total counter") == 1
    samples = {
        (sample.name, sample.labels["worker"], sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(merged)
        for sample in family.samples
    }
    assert samples["calls_total", "1", None] == 3
    assert samples["calls_total", "2", None] == 4
    assert samples["wait_seconds_bucket", "2", "+Inf"] == 4
    assert samples["wait_seconds_bucket", "1", "0.1"] == 1
    up = {key[1]: value for key, value in samples.items() if key[0] == "wasmpool_serve_worker_up"}
    assert up == {"1": 1, "2": 1, "3": 0}
    assert 'pool="a\\"b"' in merged


def test_workers_are_ready_together() -> None:
    """One that is not, or says nothing, is enough for 503."""
    ready, not_ready = {"ready": True, "wrong": {}}, {"ready": False, "wrong": {"a": {}}}
    assert merged_readiness({"": not_ready}) == not_ready
    assert merged_readiness({"1": ready, "2": ready})["ready"]
    assert not merged_readiness({"1": ready, "2": not_ready})["ready"]
    silent = merged_readiness({"1": ready, "2": None})
    assert not silent["ready"]
    assert silent["workers"]["2"]["error"] == "it does not answer: it starts, or is busy"
