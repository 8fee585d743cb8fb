"""The launcher reads the compose file as Compose does and refuses unsupported features."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev.launcher import compose


def read(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> dict[str, compose.Definition]:
    file = tmp_path / "docker-compose.yml"
    file.write_text(text)
    return compose.read(file, environ or {})


@pytest.mark.parametrize(
    ("written", "environ", "expected"),
    [
        ("${A:-b}", {}, "b"),
        ("${A:-b}", {"A": ""}, "b"),
        ("${A:-b}", {"A": "c"}, "c"),
        ("x${A:-}y", {}, "xy"),
        ("${A}", {"A": "c"}, "c"),
        ("$$A", {"A": "c"}, "$A"),
        ("${A:-http://h:1}/p", {}, "http://h:1/p"),
    ],
)
def test_variables(tmp_path: Path, written: str, environ: dict[str, str], expected: str) -> None:
    text = f'services: {{ a: {{ build: ., command: run, environment: {{ V: "{written}" }} }} }}'
    assert read(tmp_path, text, environ)["a"].environment["V"] == expected


@pytest.mark.parametrize("environ", [{}, {"A": "b"}])
def test_a_variable_without_a_value_is_passed_on(tmp_path: Path, environ: dict[str, str]) -> None:
    services = read(tmp_path, "services: { a: { build: ., command: run, environment: { A: , B: c } } }", environ)
    assert services["a"].environment == {"A": environ.get("A", ""), "B": "c"}
    assert compose.variables(tmp_path / "docker-compose.yml") == {"A"}


def test_definition_has_the_fields_of_the_launcher(tmp_path: Path) -> None:
    text = """
services:
  web:
    build: .
    command: ["python", "-m", "web"]
    restart: unless-stopped
    stop_grace_period: 1m5s
    ports: ["127.0.0.1:${PORT:-80}:8080"]
    environment: { LISTEN: "0.0.0.0:8080", EMPTY: }
    healthcheck: { test: "python -m chassis.probe http://127.0.0.1:8080/readyz" }
    depends_on: { store: { condition: service_healthy } }
  store: { image: "postgres:18" }
"""
    services = read(tmp_path, text)
    assert list(services) == ["store", "web"], "dependencies come first"
    assert services["store"].image == "postgres:18"
    assert services["web"] == compose.Definition(
        name="web",
        image=None,
        command=("python", "-m", "web"),
        environment={"LISTEN": "0.0.0.0:8080", "EMPTY": ""},
        depends_on={"store": "service_healthy"},
        probe_url="http://127.0.0.1:8080/readyz",
        container_port=8080,
        restarts=True,
        stop_grace_seconds=65.0,
    )


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("{ build: ., command: run, secrets: [s] }", "does not know secrets"),
        ("{ build: . }", "needs a command"),
        ("{ build: ., command: run, depends_on: { a: { condition: service_started } } }", "circle"),
        ("{ build: ., command: run, depends_on: { b: { condition: service_started } } }", "not defined"),
        ("{ build: ., command: run, depends_on: { b: { condition: soon } } }", "unknown condition"),
        ("{ build: ., command: run, stop_grace_period: soon }", "cannot read the duration"),
    ],
)
def test_unsupported_features_are_errors(tmp_path: Path, body: str, complaint: str) -> None:
    with pytest.raises(compose.ComposeError, match=complaint):
        read(tmp_path, f"services: {{ a: {body} }}")
