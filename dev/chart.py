"""Generates the files of the chart: the processes of docker-compose.yml, as it reads them, and copies of rules and dashboards.

The chart has no definition of a process of its own (decision 0007): commands, ports, probes, settings, secrets and calls come
from the compose file. Settings and secrets become `$(NAME)`, which Kubernetes replaces in environment variables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from dev.launcher import compose
from provision import keys

ROOT = Path(__file__).parents[1]
COMPOSE_FILE = ROOT / "docker-compose.yml"
DEPLOY = ROOT / "deploy"
TARGET = DEPLOY / "helm" / "repruv" / "files" / "processes.yaml"
HEADER = "# Generated from docker-compose.yml by `python -m dev.generated`.\n"

NOT_IN_CLUSTERS = frozenset({"certificates"})
"""Built services that a cluster has something else for: cert-manager or another authority."""
FOR_DEMONSTRATIONS = re.compile(r"BREAK_(URL|TOKEN)|DEMO_FAIL_HANDLERS|DEMO_BATCH_PAUSE_MS|PLATFORM_PRACTICE_\w+")
"""Variables that only laptops use."""
REQUIRED_SECRETS = frozenset({*keys.fresh(), "EMAIL_URL"})
OPTIONAL_SECRETS = re.compile(r"ADMIN_EMAIL|ADMIN_PASSWORD|OTEL_EXPORTER_OTLP_HEADERS|PLATFORM_\w+_CLIENT_SECRET")
METRICS_PORT = 9090

_VARIABLE = re.compile(r"\$\{(\w+)(?::-[^}]*)?\}")


def processes() -> dict[str, dict[str, Any]]:
    """Return what the chart needs to know of each process, by its name in the compose file."""
    document = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
    definitions = compose.read(COMPOSE_FILE, {})
    return {
        name: _process(document[name], definitions[name])
        for name in sorted(definitions)
        if definitions[name].image is None and name not in NOT_IN_CLUSTERS
    }


def settings() -> dict[str, str]:
    """Return the settings of the chart's processes that are no secrets, with their defaults in the compose file."""
    text = COMPOSE_FILE.read_text()
    names = {name for process in processes().values() for name in process["settings"]}
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))
    return {name: defaults.get(name, "") for name in sorted(names)}


def generate() -> str:
    return HEADER + yaml.safe_dump(processes(), sort_keys=False, width=120)


def copies() -> Mapping[Path, Callable[[], str]]:
    """Return the rules and dashboards by their places in the chart: Helm reads no file outside it."""
    rules = [DEPLOY / "prometheus" / name for name in ("alerts.yml", "slo.yml")]
    dashboards = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
    return {TARGET.parent / path.name: path.read_text for path in rules} | {
        TARGET.parent / "dashboards" / path.name: path.read_text for path in dashboards
    }


def _process(body: dict[str, Any], definition: compose.Definition) -> dict[str, Any]:
    variables: set[str] = set()
    composed: dict[str, str] = {}
    for name, value in body["environment"].items():
        if FOR_DEMONSTRATIONS.fullmatch(name):
            continue
        if name == "METRICS_ADDRESS":
            composed[name] = f"0.0.0.0:{METRICS_PORT}"
            continue
        text = f"${{{name}}}" if value is None else str(value)
        variables |= set(_VARIABLE.findall(text))
        text = _VARIABLE.sub(r"$(\1)", text)
        if text != f"$({name})":
            composed[name] = text
    secrets = {name for name in variables if name in REQUIRED_SECRETS}
    optional = {name for name in variables if OPTIONAL_SECRETS.fullmatch(name)}
    return {
        "image": Path(body["build"]["dockerfile"]).parent.name,
        "command": list(definition.command),
        "certificate": Path(composed["TLS_CERTIFICATE"]).parent.name,
        "port": definition.listen_port,
        "metrics": METRICS_PORT if definition.metrics_port else definition.listen_port,
        "probe": definition.probe_url,
        "graceSeconds": int(definition.stop_grace_seconds),
        "runsOnce": not definition.restarts,
        "calls": sorted(_host(value) for name, value in composed.items() if name.endswith("_TARGET")),
        "database": any(name.endswith("DATABASE_URL") for name in composed),
        "settings": sorted(variables - secrets - optional),
        "secrets": sorted(secrets),
        "optionalSecrets": sorted(optional),
        "environment": composed,
    }


def _host(target: str) -> str:
    return target.rpartition(":")[0]
