"""The metrics of a running system: every process has them, their names are valid, and their labels are bounded."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from pathlib import Path
from urllib import request

import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance import waiting
from tests.acceptance.system import System
from tests.acceptance.users import User
from tests.contract import documented

DEPLOY = Path(__file__).parents[2] / "deploy"
LABELS = {
    "grpc_service", "grpc_method", "grpc_code", "loop", "engine", "pool", "cause", "stream", "consumer", "kind", "state",
    "outcome", "measurement", "method", "route", "status", "event", "start", "reason", "result", "le",
    # Metrics of the Python interpreter.
    "generation", "implementation", "major", "minor", "patchlevel", "version",
}  # fmt: skip
MAX_SERIES = 1_200
"""The most label sets of one metric of one process, in a system with few kinds: auth has 63 rpcs with 16 each."""
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}")
SUFFIXES = ("_total", "_bucket", "_count", "_sum", "_created", "_info")
WORD = re.compile(r"\b[a-z][a-z0-9_]*_[a-z0-9_]+\b|\bup\b|\bclaim\w+")
NO_METRIC = re.compile(
    r"\b(?:by|on|without|ignoring|group_left)\s*\([^)]*\)|\{[^}]*\}|\$__rate_interval|\w+:[\w:]+|\"[^\"]*\""
)
"""Lists of labels, selectors, variables, names of recording rules, texts."""
BY_PROMETHEUS = {"up"}
NOT_METRICS = {
    "archive_command",
    "database_unavailable",
    "last_backup",
    "max_bytes",
    "max_connections",
    "max_file_store",
    "no_worker",
    "pg_monitor",
    "read_only",
    "request_id",
    "worker_crashed",
}
FUNCTIONS = {"histogram_quantile", "label_replace", "max_over_time", "label_values", "group_left"}


def scrape(address: str) -> list[Metric]:
    """Return the metrics of a process; its text is valid."""
    with request.urlopen(f"http://{address}/metrics", timeout=60.0) as answer:
        text = answer.read().decode()
    described = re.findall(r"^# HELP (\S+)", text, re.MULTILINE)
    assert len(described) == len(set(described)), "a parser may refuse a metric that is described twice"
    return list(text_string_to_metric_families(text))


async def scrape_connected(system: System) -> dict[str, list[Metric]] | None:
    """Return the metrics of each process; None while one that another test restarted is not there or not connected to NATS."""
    try:
        scraped = {
            name: [family for address in addresses for family in await asyncio.to_thread(scrape, address)]
            for name, addresses in system.metrics_addresses.items()
        }
    except OSError:
        return None
    connected = [
        sample.value
        for families in scraped.values()
        for family in families
        if family.name == "nats_connected"
        for sample in family.samples
    ]
    return scraped if all(connected) else None


@pytest.fixture(scope="module")
async def scraped(running: System) -> dict[str, list[Metric]]:
    """The metrics of each process after an enable."""
    user = await User.register(running.url)
    try:
        await user.enable()
        await user.wait_for_status("enabled")
    finally:
        await user.close()
    return await waiting.until(lambda: scrape_connected(running), "each process is connected to NATS")


async def test_every_process_exports_metrics(running: System, scraped: dict[str, list[Metric]]) -> None:
    assert set(scraped) == set(running.processes)
    for name, families in scraped.items():
        names = {family.name for family in families}
        assert names >= {"event_loop_lag_seconds", "grpc_client_handled", "nats_connected"}, name
        (connected,) = {family.samples[0].value for family in families if family.name == "nats_connected"}
        assert connected == 1, name


def test_labels_are_bounded(scraped: dict[str, list[Metric]]) -> None:
    for families in scraped.values():
        for family in families:
            assert len(family.samples) <= MAX_SERIES, family.name
            for sample in family.samples:
                assert set(sample.labels) <= LABELS, sample
                assert not any(UUID.search(value) or len(value) > 100 for value in sample.labels.values()), sample


def exported(scraped: dict[str, list[Metric]]) -> set[str]:
    """Return the names of all samples, also of metrics without values yet."""
    names = set(BY_PROMETHEUS)
    for family in (family for families in scraped.values() for family in families):
        names |= {family.name, *(family.name + suffix for suffix in SUFFIXES), *(s.name for s in family.samples)}
    return names


def names_in(expressions: Iterable[str]) -> set[str]:
    """Return the names of metrics in expressions of PromQL."""
    names: set[str] = set()
    for expression in expressions:
        names |= set(WORD.findall(NO_METRIC.sub(" ", expression)))
    return names - FUNCTIONS


def rule_expressions() -> list[str]:
    """Return the expressions of all rules."""
    files = [yaml.safe_load((DEPLOY / "prometheus" / name).read_text()) for name in ("slo.yml", "alerts.yml")]
    return [rule["expr"] for file in files for group in file["groups"] for rule in group["rules"]]


def test_every_metric_of_a_rule_is_exported(scraped: dict[str, list[Metric]]) -> None:
    used = names_in(rule_expressions())
    assert len(used) > 30
    assert used - exported(scraped) == set()


def test_every_metric_of_a_dashboard_is_exported(scraped: dict[str, list[Metric]]) -> None:
    used = names_in(
        target["expr"]
        for path in (DEPLOY / "grafana" / "dashboards").glob("*.json")
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", [])
    )
    assert len(used) >= 30
    assert used - exported(scraped) == set()


def test_every_metric_of_the_runbook_is_exported(scraped: dict[str, list[Metric]]) -> None:
    pages = [path.read_text() for path in (DEPLOY.parent / "docs" / "runbook").glob("*.md")]
    spans = {span for page in pages for span in documented.spans(page) if "SELECT" not in span}
    used = names_in(span for span in spans if not span.startswith(("admin ", "docker ", "openssl ", "ALTER ")))
    assert len(used) > 20
    assert used - exported(scraped) == NOT_METRICS


def test_counters_of_rare_events_begin_with_zero(scraped: dict[str, list[Metric]]) -> None:
    # `increase` does not see the first event of a counter that appears with it.
    samples = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for name in ("demo", "gateway")
        for family in scraped[name]
        for sample in family.samples
    }
    for cause in ("pool_timeout", "statement_timeout", "unreachable", "read_only", "lost"):
        assert ("postgres_unavailable_total", cause) in samples
    assert ("nats_messages_dropped_total", "jobs") in samples
    assert ("grpc_server_handled_total", "INTERNAL", "GetDashboard", "demo") in samples
    assert ("background_loop_failures_total", "relay") in samples
    assert ("http_requests_total", "POST", "/demo/enable", "202") in samples
    for path in ("/demo/enable", "/admin/jobs/change"):
        for status in ("500", "503", "504"):
            assert ("http_requests_total", "POST", path, status) in samples


def test_every_selector_of_an_objective_selects_a_series(scraped: dict[str, list[Metric]]) -> None:
    text = (DEPLOY / "prometheus" / "slo.yml").read_text()
    selectors = {(name, labels) for name, labels in re.findall(r"(\w+)\{([^}]*)\}\[", text) if "status" not in labels}
    assert len(selectors) > 4
    samples = [sample for families in scraped.values() for family in families for sample in family.samples]
    for name, labels in selectors:
        expected = {
            label: re.compile(value if "~" in operator else re.escape(value))
            for label, operator, value in re.findall(r'(\w+)(=~?)"([^"]*)"', labels)
        }
        assert any(
            sample.name == name
            and all(pattern.fullmatch(sample.labels.get(label, "")) for label, pattern in expected.items())
            for sample in samples
        ), (name, labels)
