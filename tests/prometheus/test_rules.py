"""The rules of deploy/prometheus are valid, and every alert fires when it should and only then: promtool evaluates them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = ("slo.yml", "alerts.yml")
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def promtool() -> str:
    """The path of promtool; `tests/prometheus/install` downloads it."""
    beside = Path(sys.executable).parent / "promtool"
    path = str(beside) if beside.exists() else shutil.which("promtool")
    assert path, "promtool is missing: install Prometheus, or run tests/prometheus/install as `make test` does"
    return path


def alerts() -> Iterator[dict[str, Any]]:
    """Yield the alerts."""
    for name in RULES:
        for group in yaml.safe_load((PROMETHEUS / name).read_text())["groups"]:
            yield from (rule for rule in group["rules"] if "alert" in rule)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("name", ["slo", "alerts"])
def test_alerts_fire_when_they_should_and_only_then(promtool: str, name: str) -> None:
    done = run(promtool, "test", "rules", str(HERE / f"{name}.test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_configuration_is_valid(promtool: str, tmp_path: Path) -> None:
    text = (PROMETHEUS / "prometheus.yml").read_text().replace("/etc/prometheus", str(PROMETHEUS))
    (tmp_path / "prometheus.yml").write_text(text)
    done = run(promtool, "check", "config", str(tmp_path / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", RULES)
def test_rules_pass_the_linter(promtool: str, name: str) -> None:
    done = run(promtool, "check", "rules", "--lint-fatal", str(PROMETHEUS / name))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    expected = {rule["alert"] for rule in alerts()}
    for position in (0, 1):
        cases = {
            case["alertname"]
            for name in RULES
            for case in yaml.safe_load((HERE / name.replace(".yml", ".test.yml")).read_text())["tests"][position][
                "alert_rule_test"
            ]
        }
        assert cases == expected


def test_expressions_of_the_dashboards_are_valid(promtool: str, tmp_path: Path) -> None:
    expressions = sorted(
        {
            target["expr"].replace("$__rate_interval", "1m")
            for path in (ROOT / "deploy" / "grafana" / "dashboards").glob("*.json")
            for panel in json.loads(path.read_text())["panels"]
            for target in panel.get("targets", [])
        }
    )
    assert len(expressions) > 30
    rules = [{"record": f"dashboard:{number}", "expr": text} for number, text in enumerate(expressions)]
    (tmp_path / "dashboards.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    done = run(promtool, "check", "rules", str(tmp_path / "dashboards.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanager_routes_and_inhibits_alerts_that_exist() -> None:
    config = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())
    receivers = {receiver["name"] for receiver in config["receivers"]}
    assert {config["route"]["receiver"], *(route["receiver"] for route in config["route"]["routes"])} == receivers
    text = json.dumps(config["inhibit_rules"])
    named = {name for names in re.findall(r'alertname=~?\\"([\w|]+)\\"', text) for name in names.split("|")}
    assert len(named) > 5
    assert named <= {rule["alert"] for rule in alerts()}
    severities = {rule["labels"]["severity"] for rule in alerts()}
    assert set(re.findall(r'severity=\\"(\w+)\\"', json.dumps(config))) <= severities == {"page", "ticket"}


def test_alert_of_one_process_inhibits_no_alert_of_another() -> None:
    fired = [
        (case["alertname"], alert["exp_labels"])
        for name in RULES
        for case in yaml.safe_load((HERE / name.replace(".yml", ".test.yml")).read_text())["tests"][0][
            "alert_rule_test"
        ]
        for alert in case["exp_alerts"]
    ]
    for rule in yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())["inhibit_rules"]:
        if any("alertname" in matcher for matcher in rule["source_matchers"]):
            named = re.findall(r"\w+", " ".join(rule["target_matchers"]).replace("alertname", ""))
            names_its_process = any(matcher.startswith("job") for matcher in rule["source_matchers"])
            # A label that both alerts lack is equal too.
            has_job = all("job" in labels for name, labels in fired if name in named)
            assert names_its_process or (rule.get("equal") == ["job"] and has_job), rule


def test_every_panel_says_what_is_normal_and_names_alerts_that_exist() -> None:
    names = {rule["alert"] for rule in alerts()}
    for path in (ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"):
        for panel in json.loads(path.read_text())["panels"]:
            if panel["type"] != "row":
                text = panel.get("description", "")
                assert text, f"{path.name}: {panel['title']}"
                # The names of alerts are the only words with capitals inside.
                named = set(re.findall(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b", text)) - {"ClaimJobs"}
                assert named - {"PostgreSQL"} <= names, f"{path.name}: {panel['title']}"
