"""Every panel of the Grafana dashboards shows the running system: Prometheus scrapes it, and each expression has values."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import yaml

from dev import subprocesses
from tests.acceptance import waiting
from tests.acceptance.streams import Stream
from tests.acceptance.system import System
from tests.acceptance.users import User

DEPLOY = Path(__file__).parents[2] / "deploy"
INTERVAL = "1s"
RATES_OVER = "1m"
"""Longer than a busy machine takes for a round of the test."""
EMPTY_WHILE_ALL_IS_WELL = {
    "Alerts that fire": "ALERTS",
    "Jobs that wait": "jobs_unfinished",
    "Jobs that run": "jobs_unfinished",
    "Calls that fail": "grpc_server_handled_total",
    "Oldest transaction and replication lag": "postgres_replication_lag_seconds",
}
"""Panels with an expression that has no value without a failure, a standby or an unfinished job, and its metric."""


def program() -> str:
    """Return the path of Prometheus; `tests/prometheus/install` downloads it."""
    beside = Path(sys.executable).parent / "prometheus"
    path = str(beside) if beside.exists() else shutil.which("prometheus")
    assert path, "Prometheus is missing: install it, or run tests/prometheus/install as `make test` does"
    return path


def configuration(system: System) -> str:
    """Return the configuration of deploy/prometheus with the addresses of this system, and short intervals."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL, "scrape_timeout": INTERVAL}
    config["rule_files"] = [
        path.replace("/etc/prometheus", str(DEPLOY / "prometheus")) for path in config["rule_files"]
    ]
    del config["alerting"]
    for job in config["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": system.metrics_addresses[job["job_name"]]}]
    return yaml.safe_dump(config)


@asynccontextmanager
async def prometheus(system: System, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Run Prometheus while the context lasts; yield a client of it."""
    port = subprocesses.free_port()
    (folder / "prometheus.yml").write_text(configuration(system))
    with (folder / "log").open("wb") as log:
        process = subprocesses.spawn(
            [
                program(),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            environment={"PATH": os.environ["PATH"]},
            directory=folder,
            death_signal=signal.SIGKILL,
            output=log.fileno(),
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1") as client:
            yield client
    finally:
        await asyncio.to_thread(subprocesses.kill, process)


def expressions() -> Iterator[tuple[str, str]]:
    """Yield the title of each panel with each of its expressions."""
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield panel["title"], target["expr"].replace("$__rate_interval", RATES_OVER)


def is_expected_to_be_empty(title: str, expression: str) -> bool:
    return title in EMPTY_WHILE_ALL_IS_WELL and EMPTY_WHILE_ALL_IS_WELL[title] in expression


async def has_values(client: httpx.AsyncClient, expression: str) -> bool:
    """Return whether an expression has a value that a panel can draw."""
    answer = await client.get("/query", params={"query": expression})
    assert answer.status_code == 200, (expression, answer.text)
    return any(series["value"][1] != "NaN" for series in answer.json()["data"]["result"])


async def test_every_panel_shows_the_running_system(running: System, user: User, tmp_path: Path) -> None:
    missing_metrics = [
        (title, expression) for title, expression in expressions() if not is_expected_to_be_empty(title, expression)
    ]
    assert len(missing_metrics) > 40
    async with prometheus(running, tmp_path) as client, Stream(user):

        async def all_targets_are_up() -> bool:
            try:
                answer = await client.get("/query", params={"query": "sum(up)"})
            except httpx.TransportError:
                return False
            result = answer.json()["data"]["result"] if answer.status_code == 200 else []
            return bool(result) and int(result[0]["value"][1]) == sum(map(len, running.metrics_addresses.values()))

        await waiting.until(all_targets_are_up, "Prometheus scrapes every process")

        async def empty_panels() -> list[tuple[str, str]]:
            await user.enable({"interaction_count": 100})
            await user.wait_for_status("enabled")
            await user.disable()
            await user.wait_for_status("disabled")
            return [panel for panel in missing_metrics if not await has_values(client, panel[1])]

        empty: list[tuple[str, str]] = []

        async def none_is_empty() -> bool:
            empty[:] = await empty_panels()
            return not empty

        try:
            await waiting.until(none_is_empty, "every panel has values")
        except AssertionError:
            raise AssertionError(f"empty: {empty}") from None
