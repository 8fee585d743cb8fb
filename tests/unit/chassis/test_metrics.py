"""Labels of metrics are bounded, and calls are counted by status."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Histogram

from chassis import metrics


def test_kinds_beyond_the_bound_share_a_label() -> None:
    label = metrics.kind_label()
    kinds = [f"test.{number}" for number in range(metrics.MAX_KINDS + 5)]
    labels = [label(kind) for kind in kinds]
    assert labels[: metrics.MAX_KINDS] == kinds[: metrics.MAX_KINDS]
    assert set(labels[metrics.MAX_KINDS :]) == {"other"}
    assert [label(kind) for kind in kinds] == labels


def test_calls_are_counted_by_status_and_streams_have_no_times() -> None:
    registry = CollectorRegistry()
    names = ["grpc_service", "grpc_method"]
    calls = metrics.Calls(
        Counter("calls", "Calls.", [*names, "grpc_code"], registry=registry),
        Histogram("seconds", "Times.", names, registry=registry),
        "jobs",
        "GetJob",
    )
    rpc = {"grpc_service": "jobs", "grpc_method": "GetJob"}
    calls.record_end(metrics.OK, time.perf_counter())
    calls.record_end(metrics.OK)
    assert registry.get_sample_value("calls_total", {**rpc, "grpc_code": "OK"}) == 2
    assert registry.get_sample_value("seconds_count", rpc) == 1
