"""All processes of the largest documented deployment fit into the connections of PostgreSQL, with a reserve."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import yaml

from dev.embedded import postgres as embedded
from services.auth.settings import Settings as AuthSettings
from services.auth.settings import WorkerSettings as AuthWorkerSettings
from services.demo.settings import Settings as DemoSettings
from services.demo.settings import WorkerSettings as DemoWorkerSettings
from services.jobs.settings import Settings as JobsSettings

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text()
ROW = re.compile(r"^\| ([a-z-]+) \| (\d+) \| (\d+) \| (\d+) \|$", re.MULTILINE)
TOTAL = int(re.findall(r"^\| all \| \| \| (\d+) \|$", OPERATIONS, re.MULTILINE)[0])
RESERVE = 10
"""Connections that processes of services leave, besides those of superusers: one-off commands, overlapping restarts."""


def with_defaults(settings: type[Any]) -> Any:
    """Return settings of which only the defaults matter."""
    instance = object.__new__(settings)
    for name, field in settings.__dataclass_fields__.items():
        object.__setattr__(instance, name, field.default)
    return instance


def of_compose() -> dict[str, dict[str, str]]:
    """Return the settings that the containers of PostgreSQL have on their command lines."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return {
        name: dict(argument.split("=") for argument in service["command"] if argument != "-c")
        for name, service in services.items()
        if service.get("image", "").startswith("postgres:")
    }


def test_documented_connections_are_those_of_the_processes() -> None:
    pools = {
        "auth": with_defaults(AuthSettings).pool_size,
        "auth-worker": with_defaults(AuthWorkerSettings).pool_size,
        "demo": with_defaults(DemoSettings).pool_size,
        "demo-worker": with_defaults(DemoWorkerSettings).pool_size,
        "jobs": with_defaults(JobsSettings).pool_size,
    }
    rows = [(name, *map(int, numbers)) for name, *numbers in ROW.findall(OPERATIONS)]
    assert {name: pool for name, pool, *_ in rows} == pools
    assert all(pool * replicas == product for _, pool, replicas, product in rows)
    assert sum(product for *_, product in rows) == TOTAL


def test_every_server_has_the_documented_connections_and_a_reserve() -> None:
    servers = of_compose() | {"embedded": embedded.SETTINGS}
    assert set(servers) >= {"postgres", "postgres-standby", "embedded"}
    for name, settings in servers.items():
        maximum, reserved = int(settings["max_connections"]), int(settings["superuser_reserved_connections"])
        assert maximum - reserved >= TOTAL + RESERVE, name
        assert f"accepts {maximum} (`max_connections`), of which {reserved} " in OPERATIONS, name
    pooler = re.findall(
        r"^default_pool_size = (\d+)$", (ROOT / "deploy/pgbouncer/settings.ini").read_text(), re.MULTILINE
    )
    assert int(pooler[0]) * 3 <= TOTAL


def test_every_engine_states_its_connections() -> None:
    for path in (ROOT / "services").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "postgres.engine":
                sizes = [ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg == "pool_size"]
                assert sizes in (["config.pool_size"], ["COMMAND_POOL_SIZE"]), path
