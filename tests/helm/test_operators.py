"""The resources for KEDA, cert-manager and the Prometheus operator are valid for their schemas."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helm.test_chart import NOT_OF_KUBERNETES, Resource, rendered

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
MODELS = HERE / "node_modules" / "@kubernetes-models"
PACKAGES = {"keda.sh": "keda", "cert-manager.io": "cert-manager", "monitoring.coreos.com": "prometheus-operator"}
NAMES_OF_THEIR_OWN = {"metadata", "labels", "annotations", "matchLabels"}
"""Fields with names that no schema lists: those of a trigger, and labels."""
OF_SELECTORS = {"matchLabels"}
"""Kubernetes' own fields in the resources of others."""


@pytest.fixture(scope="module")
def resources() -> list[Resource]:
    """The resources for operators; installs their schemas at the versions of the lock file, once."""
    installed, lock = HERE / "node_modules" / ".package-lock.json", HERE / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        npm: list[str | Path] = [BIN / "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(npm, cwd=HERE, capture_output=True, timeout=280, check=True)
    return [resource for resource in rendered() if resource["apiVersion"] in NOT_OF_KUBERNETES]


def refused(resources: list[Resource]) -> list[str]:
    """Return what the schemas refuse, and names of fields that they do not have."""
    done = subprocess.run(
        [BIN / "node", "validate.mjs"],
        cwd=HERE, input=json.dumps(resources), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    problems: list[str] = json.loads(done.stdout)
    for resource in resources:
        package = MODELS / PACKAGES[resource["apiVersion"].partition("/")[0]]
        types = "".join(path.read_text() for path in (package / resource["apiVersion"]).glob("*.d.ts"))
        field_names = set(re.findall(r'^    "(\w+)"\??:', types, re.MULTILINE))
        problems += [
            f"{resource['kind']}: unknown field {name}" for name in fields(resource["spec"]) if name not in field_names
        ]
    return problems


def fields(node: object) -> Iterator[str]:
    """Yield the names of all fields that a schema lists."""
    if isinstance(node, list):
        for each in node:
            yield from fields(each)
    elif isinstance(node, dict):
        yield from (name for name in node if name not in OF_SELECTORS)
        for name, value in node.items():
            if name not in NAMES_OF_THEIR_OWN:
                yield from fields(value)


def test_resources_are_valid_for_the_operators(resources: list[Resource]) -> None:
    assert {resource["kind"] for resource in resources} == {
        "ScaledObject",
        "Certificate",
        "PodMonitor",
        "PrometheusRule",
    }
    assert refused(resources) == []


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("ScaledObject", {"pollingInterval": "often"}),
        ("ScaledObject", {"triggers": [{"type": "prometheus"}]}),
        ("ScaledObject", {"minReplicas": 2}),
        ("Certificate", {"secretName": None}),
        ("PodMonitor", {"podMetricsEndpoint": []}),
        ("PrometheusRule", {"groups": [{"rules": []}]}),
        ("Certificate", {"dnsName": "auth"}),
    ],
)
def test_what_the_operators_refuse_is_found(resources: list[Resource], kind: str, spec: Resource) -> None:
    broken = copy.deepcopy(next(resource for resource in resources if resource["kind"] == kind))
    broken["spec"] |= spec
    assert refused([broken])
