"""Reads docker-compose.yml: the processes, in the subset of the format that our file uses.

Anything outside the subset is an error, so that the launcher cannot silently differ from containers.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

KNOWN_KEYS = frozenset({
    "build", "image", "command", "environment", "depends_on", "healthcheck", "ports", "restart", "stop_grace_period",
    "init", "volumes", "stop_signal", "shm_size", "entrypoint", "profiles", "logging", "mem_limit",
    "read_only", "tmpfs",
})  # fmt: skip
CONDITIONS = frozenset({"service_started", "service_healthy", "service_completed_successfully"})
DEFAULT_GRACE_SECONDS = 10.0

_VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\})")
_DURATION = re.compile(r"(?:(\d+)m)?(?:(\d+)s)?")


class ComposeError(ValueError):
    """The compose file uses a feature that the launcher does not support."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One service of the compose file."""

    name: str
    image: str | None
    """The image of PostgreSQL or NATS. None for our own processes."""
    command: tuple[str, ...]
    environment: Mapping[str, str]
    depends_on: Mapping[str, str]
    """Other services by name, each with the condition to wait for."""
    probe_url: str | None
    """The URL of the health check by `chassis.probe`. None without such a check."""
    container_port: int | None
    """The container port that is published on the host."""
    restarts: bool
    stop_grace_seconds: float

    @property
    def listen_port(self) -> int | None:
        return self._port("LISTEN")

    @property
    def metrics_port(self) -> int | None:
        """The port of METRICS_ADDRESS, or None."""
        return self._port("METRICS_ADDRESS")

    def _port(self, variable: str) -> int | None:
        address = self.environment.get(variable)
        return int(address.rpartition(":")[2]) if address else None


def variables(path: Path) -> frozenset[str]:
    """Return all variables of the file: `${NAME}`, and `NAME:` without a value."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    environments = [body.get("environment", {}) for body in yaml.safe_load(text)["services"].values()]
    passed_on = {name for environment in environments for name, value in environment.items() if value is None}
    return frozenset(passed_on | {match["name"] for match in _VARIABLE.finditer(text) if match["name"]})


def read(path: Path, environ: Mapping[str, str]) -> dict[str, Definition]:
    """Return the services of the file by name, dependencies first, with variables from `environ`.

    As in Compose, a service with profiles belongs to it only if COMPOSE_PROFILES names one of them.
    """
    document = yaml.safe_load(path.read_text())
    profiles = set(environ.get("COMPOSE_PROFILES", "").split(","))
    definitions = {
        name: _definition(name, _interpolate(body, environ), environ)
        for name, body in document["services"].items()
        if not profiles.isdisjoint(body.get("profiles", profiles))
    }
    return {name: definitions[name] for name in _in_order(definitions)}


def _definition(name: str, body: dict[str, Any], environ: Mapping[str, str]) -> Definition:
    if unknown := sorted(body.keys() - KNOWN_KEYS):
        raise ComposeError(f"{name}: the launcher does not know {', '.join(unknown)}")
    command = body.get("command", [])
    environment = body.get("environment", {})
    depends_on = {other: setting["condition"] for other, setting in body.get("depends_on", {}).items()}
    if unsupported := sorted(set(depends_on.values()) - CONDITIONS):
        raise ComposeError(f"{name}: unknown condition {', '.join(unsupported)}")
    if "build" in body and "entrypoint" in body:
        raise ComposeError(f"{name}: the launcher runs a built service by its command alone")
    if "build" in body and not command:
        raise ComposeError(f"{name}: a built service needs a command")
    ports = body.get("ports", [])
    return Definition(
        name=name,
        image=None if "build" in body else body["image"],
        command=tuple(shlex.split(command) if isinstance(command, str) else command),
        environment={key: environ.get(key, "") if value is None else str(value) for key, value in environment.items()},
        depends_on=depends_on,
        probe_url=_probe_url(body.get("healthcheck", {}).get("test", [])),
        container_port=int(ports[0].rpartition(":")[2]) if ports else None,
        restarts=body.get("restart", "no") != "no",
        stop_grace_seconds=_seconds(body["stop_grace_period"])
        if "stop_grace_period" in body
        else DEFAULT_GRACE_SECONDS,
    )


def _probe_url(test: str | list[str]) -> str | None:
    words = test.split() if isinstance(test, str) else test
    return words[-1] if "chassis.probe" in words else None


def _seconds(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if not match or not text:
        raise ComposeError(f"cannot read the duration {text!r}")
    return 60.0 * int(match[1] or 0) + int(match[2] or 0)


def _interpolate(value: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: _replacement(match, environ), value)
    if isinstance(value, list):
        return [_interpolate(item, environ) for item in value]
    if isinstance(value, dict):
        return {key: _interpolate(item, environ) for key, item in value.items()}
    return value


def _replacement(match: re.Match[str], environ: Mapping[str, str]) -> str:
    if match["escaped"]:
        return "$"
    # As in Compose: `:-` replaces an empty value too.
    return environ.get(match["name"], "") or match["default"] or ""


def _in_order(definitions: Mapping[str, Definition]) -> list[str]:
    ordered: list[str] = []

    def place(name: str, dependents: tuple[str, ...]) -> None:
        if name in dependents:
            raise ComposeError(f"services depend on each other in a circle: {' → '.join((*dependents, name))}")
        if name not in definitions:
            raise ComposeError(f"{dependents[-1]} depends on {name}, which is not defined")
        for other in definitions[name].depends_on:
            place(other, (*dependents, name))
        if name not in ordered:
            ordered.append(name)

    for name in definitions:
        place(name, ())
    return ordered


def depths(definitions: Mapping[str, Definition]) -> dict[str, int]:
    """Return the depth of each process: 1 without dependencies, else more than those it depends on."""
    depths: dict[str, int] = {}
    for name, definition in definitions.items():
        depths[name] = 1 + max((depths[other] for other in definition.depends_on), default=0)
    return depths
