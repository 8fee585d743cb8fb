"""The manifests of deploy/kubernetes are valid and fit each other and the chart; every process accepts their settings."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from chassis import settings
from provision import certificates, keys
from services.auth.connections import platform_settings
from tests.contract.test_production_start import PROCESSES as SETTINGS
from tests.helm.test_chart import (
    CHART,
    ROOT,
    VENV,
    Resource,
    check_of_kubernetes,
    of_kind,
    pods,
    promtool,
    rendered,
    resolved,
)
from tests.helm.test_operators import refused
from tests.helm.test_operators import resources as installed_schemas

EXAMPLES = ROOT / "deploy" / "kubernetes"
VALUES = yaml.safe_load((EXAMPLES / "values.yaml").read_text())
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
__all__ = ["installed_schemas"]


def examples() -> list[Resource]:
    """Return the resources of the manifests."""
    manifests = sorted(path for path in EXAMPLES.glob("*.yaml") if path.name != "values.yaml")
    return [resource for path in manifests for resource in yaml.safe_load_all(path.read_text())]


def hosts(setting: str) -> set[str]:
    """Return the host names of a setting such as `a:4222,b:4222`."""
    return {part.rpartition(":")[0] for part in VALUES["settings"][setting].split(",")}


def test_examples_are_valid(installed_schemas: list[Resource]) -> None:
    others = [resource for resource in examples() if resource["apiVersion"] == "cert-manager.io/v1"]
    assert {resource["kind"] for resource in others} == {"Issuer", "Certificate"}
    assert refused(others) == []
    own = [resource for resource in examples() if resource not in others and resource["kind"] != "Cluster"]
    assert check_of_kubernetes(own) == {"Service", "StatefulSet", "PodDisruptionBudget", "Ingress"}
    assert {resource["metadata"]["namespace"] for resource in examples()} == {"repruv"}


def test_certificates_of_the_engines_name_the_hosts_of_the_values() -> None:
    requested = of_kind(examples(), "Certificate")
    assert hosts("POSTGRES_HOSTS") <= set(requested["repruv-db"]["spec"]["dnsNames"])
    assert hosts("NATS_HOSTS") == set(requested["nats"]["spec"]["dnsNames"])
    assert VALUES["certificates"]["issuer"]["name"] in of_kind(examples(), "Issuer")
    mounted = {requested[name]["spec"]["secretName"] for name in ("repruv-db", "repruv-db-replication")}
    (cluster,) = of_kind(examples(), "Cluster").values()
    assert set(cluster["spec"]["certificates"].values()) == mounted
    assert cluster["spec"]["bootstrap"]["initdb"]["database"] == "repruv"


def test_nats_gets_what_its_configuration_reads() -> None:
    (nats,) = of_kind(examples(), "StatefulSet").values()
    (container,) = nats["spec"]["template"]["spec"]["containers"]
    files = {path.name: path.read_text() for path in (ROOT / "deploy" / "nats").glob("*.conf")}
    text = re.sub(r"#.*", "", "".join(files.values()))
    names = {name for name in re.findall(r"\$([A-Z][A-Z_]+)", text) if name != "JS"}
    environment = {entry["name"]: entry for entry in container["env"]}
    assert environment.keys() == names
    references = {
        name: entry["valueFrom"]["secretKeyRef"]["key"] for name, entry in environment.items() if "PASSWORD" in name
    }
    assert references == {name: name for name in keys.NATS_PASSWORDS}
    routes = re.findall(r"nats://([\w.-]+):6222", environment["NATS_ROUTES"]["value"])
    assert set(routes) == hosts("NATS_HOSTS")
    assert Path(container["args"][0].partition("=")[2]).name in files
    secret = nats["spec"]["template"]["spec"]["volumes"][1]["secret"]["secretName"]
    assert secret == of_kind(examples(), "Certificate")["nats"]["spec"]["secretName"]


def test_network_policies_reach_the_engines_of_the_examples() -> None:
    (nats,) = of_kind(examples(), "StatefulSet").values()
    (peer,) = VALUES["networkPolicies"]["nats"]
    assert peer["podSelector"]["matchLabels"] == nats["spec"]["template"]["metadata"]["labels"]
    (peer,) = VALUES["networkPolicies"]["postgres"]
    assert peer["podSelector"]["matchLabels"]["cnpg.io/cluster"] in of_kind(examples(), "Cluster")


def test_every_process_accepts_the_settings_of_the_examples(tmp_path: Path) -> None:
    certificates.make(tmp_path)
    email_url = re.search(r"EMAIL_URL=(\S+)", PAGE)
    assert email_url
    secrets = {**keys.fresh(), "EMAIL_URL": email_url[1]}
    pod_specs = dict(pods(rendered(values=EXAMPLES / "values.yaml")))
    assert pod_specs.keys() == SETTINGS.keys()
    for name, pod in pod_specs.items():
        environment = {
            variable: value.replace("/certificates/", f"{tmp_path}/") if variable.startswith("TLS_") else value
            for variable, value in resolved(pod["containers"][0], secrets).items()
        }
        settings.read(SETTINGS[name], environment)
        platform_settings.read(environment)


def keys_of(values: Resource, prefix: str = "") -> list[str]:
    """Return the paths of all values, those of each process as `processes.NAME.…`."""
    paths = []
    for key, value in values.items():
        path = f"{prefix}{'NAME' if prefix == 'processes.' else key}"
        is_leaf = (
            not isinstance(value, dict)
            or not value
            or path in ("settings", "processes.NAME.resources")
            or path.endswith("labels")
        )
        paths += [path] if is_leaf else keys_of(value, f"{path}.")
    return paths


def test_every_value_is_on_the_page() -> None:
    paths = set(keys_of(yaml.safe_load((CHART / "values.yaml").read_text())))
    assert len(paths) > 30
    assert {path for path in paths if f"`{path}`" not in PAGE} == set()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_on_the_page(path: Path) -> None:
    assert f"deploy/kubernetes/{path.name}" in PAGE


def test_nats_accepts_its_configuration_with_the_variables_of_the_manifest(tmp_path: Path) -> None:
    certificates.make(tmp_path)
    (nats,) = of_kind(examples(), "StatefulSet").values()
    (container,) = nats["spec"]["template"]["spec"]["containers"]
    environment = {
        entry["name"]: entry.get("value", "nats-0").replace("/certificates/", f"{tmp_path}/")
        for entry in container["env"]
    }
    configuration = ROOT / "deploy" / "nats" / Path(container["args"][0]).name
    server = str(VENV / "bin" / "nats-server")
    line = [server, "-t", "--config", str(configuration), "--store_dir", str(tmp_path / "data")]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


def test_snippets_of_the_page_are_valid(tmp_path: Path) -> None:
    monitoring, scrapes = (
        yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    )
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(VALUES | monitoring))
    kinds = {resource["kind"] for resource in rendered(values=tmp_path / "values.yaml")}
    assert {"PodMonitor", "PrometheusRule", "ConfigMap"} <= kinds
    # Debian's Prometheus is built without Kubernetes.
    (scrape,) = scrapes
    assert scrape.pop("kubernetes_sd_configs") == [{"role": "pod", "namespaces": {"names": ["repruv"]}}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": scrapes}))
    line = [promtool(), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
