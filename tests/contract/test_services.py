"""Static text that names services agrees with provision/services.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from provision.services import CALLERS, JOB_OWNERS, SERVICES

ROOT = Path(__file__).parents[2]
USERS = (ROOT / "deploy/nats/users.conf").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def permissions(user: str) -> str:
    """Return the permissions of a NATS user."""
    match = re.search(rf"user: {user},.*?\}} \}}", USERS, re.DOTALL)
    assert match, f"users.conf lacks {user}"
    return match[0]


def test_every_service_has_a_folder() -> None:
    folders = {path.parent.name for path in (ROOT / "services").glob("*/__main__.py")}
    assert folders == set(SERVICES)


def test_every_caller_has_a_nats_user() -> None:
    users = re.findall(r"user: ([a-z]+), password: \$([A-Z_]+),", USERS)
    assert users == [(user, f"{user.upper()}_NATS_PASSWORD") for user in (*CALLERS, "provision")]


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_publishes_to_its_own_stream_only(service: str) -> None:
    granted = permissions(service)
    assert f'"{service}.events.>"' in granted
    assert f'"$JS.API.STREAM.INFO.{service.upper()}"' in granted
    published = granted.partition("subscribe:")[0]
    assert not [other for other in SERVICES if other != service and f'"{other}.events.>"' in published]


@pytest.mark.parametrize("service", JOB_OWNERS)
def test_every_job_owner_may_use_its_durable_consumer(service: str) -> None:
    assert f'"$JS.API.CONSUMER.MSG.NEXT.JOBS.{service}"' in permissions(service)


@pytest.mark.parametrize("service", CALLERS)
def test_every_caller_is_a_process_of_compose(service: str) -> None:
    assert service in COMPOSE
    passwords = COMPOSE["nats"]["environment"]
    assert passwords[f"{service.upper()}_NATS_PASSWORD"].startswith(f"${{{service.upper()}_NATS_PASSWORD:-")


@pytest.mark.parametrize("service", SERVICES)
def test_provisioning_gets_the_password_of_every_role(service: str) -> None:
    assert f"{service.upper()}_DB_PASSWORD" in COMPOSE["migrate"]["environment"]


@pytest.mark.parametrize("service", [*CALLERS, "provision"])
def test_every_image_has_its_requirements(service: str) -> None:
    assert (ROOT / f"requirements/{service}.in").exists()
    locked = re.search(r"for name in ([a-z ]+); do", (ROOT / "Makefile").read_text())
    assert locked
    assert service in locked[1].split()


def test_container_tests_know_every_process() -> None:
    text = (ROOT / "tests/containers/run").read_text()
    listed = re.search(r'^SERVICES="([a-z -]+)"$', text, re.MULTILINE)
    assert listed
    assert {name.removesuffix("-worker") for name in listed[1].split()} == set(CALLERS)


def test_the_provisioning_image_has_a_folder_for_every_certificate() -> None:
    dockerfile = (ROOT / "provision/Dockerfile").read_text()
    assert not [name for name in (*CALLERS, "provision") if f"/certificates/{name}" not in dockerfile]
