"""The Helm chart follows from docker-compose.yml. tests/helm renders it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from dev import chart

ROOT = Path(__file__).parents[2]
VALUES = yaml.safe_load((ROOT / "deploy/helm/repruv/values.yaml").read_text())
OTHER_DEFAULTS = {
    "ENVIRONMENT": "production",
    "LOG_FORMAT": "json",
    # Values without a default: the operator must set them.
    "PUBLIC_URL": "",
    "POSTGRES_HOSTS": "",
    "NATS_HOSTS": "",
    "EMAIL_FROM": "",
}


def test_values_have_the_settings_of_the_compose_file_with_its_defaults() -> None:
    assert VALUES["settings"] == {**chart.settings(), **OTHER_DEFAULTS}


def test_values_describe_every_process() -> None:
    assert VALUES["processes"].keys() == chart.processes().keys()


def test_no_secret_is_a_setting() -> None:
    words = ("PASSWORD", "SECRET", "KEY", "TOKEN", "HEADERS")
    secret_settings = {
        name for name in chart.settings() if any(name.endswith(word) or f"{word}S" in name for word in words)
    }
    assert secret_settings == set()


def test_chart_images_wheel_and_changelog_have_one_version() -> None:
    described = yaml.safe_load((ROOT / "deploy/helm/repruv/Chart.yaml").read_text())
    wheel = tomllib.loads((ROOT / "protos/pyproject.toml").read_text())["project"]["version"]
    newest = re.findall(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert {described["version"], described["appVersion"], wheel} == {newest}
