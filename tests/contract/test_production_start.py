"""The documented start in production gives every process the settings that production requires."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from chassis import settings
from dev.launcher import compose, env_files
from provision import certificates
from provision.settings import Settings as ProvisionSettings
from services.auth.connections import platform_settings
from tests.contract.documented import ROOT
from tests.contract.test_compose import COMPOSE_FILE, SETTINGS

PROCESSES: dict[str, type[settings.Base]] = {**SETTINGS, "migrate": ProvisionSettings}
DOCKER = """
docker() {
  if [[ "${*: -2}" == "provision keys" ]]; then "$PYTHON" -m provision keys; fi
}
"""
"""Of the commands of Compose only the one that prints keys runs, without its container."""


def production_block() -> str:
    """Return the commands of the section Production of docs/operations.md."""
    section = (ROOT / "docs/operations.md").read_text().partition("\n## Production\n")[2].partition("\n## ")[0]
    match = re.search(r"^```\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert match
    return match[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the documented commands have run, with certificates as the one-shot `certificates` makes them."""
    path = tmp_path_factory.mktemp("production")
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": f"{ROOT}:{ROOT / 'protos/gen'}"}
    commands = DOCKER + production_block()
    subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=path, env=environment, check=True, timeout=60)
    certificates.make(path / "certificates")
    return path


def refused(folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Return what each process says of its settings that refuses them."""
    messages: dict[str, str] = {}
    definitions = compose.read(COMPOSE_FILE, variables)
    for name, cls in PROCESSES.items():
        environment = {
            variable: value.replace("/certificates/", f"{folder}/certificates/")
            if variable.startswith("TLS_")
            else value
            for variable, value in definitions[name].environment.items()
        }
        try:
            settings.read(cls, environment)
            platform_settings.read(environment)
        except settings.SettingsError as error:
            messages[name] = str(error)
    return messages


def test_every_process_accepts_the_documented_settings(folder: Path) -> None:
    variables = env_files.read(folder / ".env")
    assert variables["ENVIRONMENT"] == "production"
    assert (folder / ".env").stat().st_mode & 0o077 == 0
    assert refused(folder, variables) == {}


@pytest.mark.parametrize(
    ("missing", "process"),
    [
        ("EMAIL_URL", "auth-worker"),
        ("EMAIL_FROM", "auth-worker"),
        ("TRUSTED_PROXIES", "gateway"),
        ("ENCRYPTION_KEYS", "auth"),
        ("POSTGRES_PASSWORD", "migrate"),
        ("DEMO_IDENTITY_KEY", "demo"),
    ],
)
def test_a_process_names_a_line_that_is_missing(folder: Path, missing: str, process: str) -> None:
    variables = env_files.read(folder / ".env")
    del variables[missing]
    message = refused(folder, variables)[process]
    assert missing.removeprefix("DEMO_") in message or "published local-only secret" in message
