"""The chart, rendered by Helm: valid for Kubernetes, the processes of docker-compose.yml, and open for their calls only."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
import pytest
import yaml

from dev import chart
from dev.launcher import compose
from provision import certificates
from tests.contract import callers

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "repruv"
VALUES = Path(__file__).parent / "values.yaml"
VENV = Path(sys.executable).parent.parent
HELM = VENV / "bin" / "helm"
SCHEMAS = VENV / "share" / "kubernetes-schemas"
NOT_OF_KUBERNETES = {"keda.sh/v1alpha1", "cert-manager.io/v1", "monitoring.coreos.com/v1"}
PROCESSES = chart.processes()
RUNNING = sorted(name for name, process in PROCESSES.items() if not process["runsOnce"])
Resource = dict[str, Any]


def helm(command: str, *arguments: str, values: Path = VALUES) -> subprocess.CompletedProcess[str]:
    """Run Helm on the chart."""
    assert HELM.exists(), "Helm is missing: run tests/helm/install as `make test` does"
    chart_of = ["repruv", str(CHART)] if command == "template" else [str(CHART)]
    line = [str(HELM), command, *chart_of, "--values", str(values), *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)


def rendered(*arguments: str, values: Path = VALUES) -> list[Resource]:
    """Return the resources of the chart."""
    done = helm("template", "--namespace", "repruv", *arguments, values=values)
    assert done.returncode == 0, done.stderr
    return [resource for resource in yaml.safe_load_all(done.stdout) if resource]


@pytest.fixture(scope="module")
def resources() -> list[Resource]:
    """All resources, with every part turned on."""
    return rendered()


def promtool() -> str:
    """Return the path of promtool, which tests/prometheus/install downloads."""
    beside = VENV / "bin" / "promtool"
    return str(beside) if beside.exists() else "promtool"


def of_kind(resources: Iterable[Resource], kind: str) -> dict[str, Resource]:
    """Return the resources of a kind by name."""
    return {resource["metadata"]["name"]: resource for resource in resources if resource["kind"] == kind}


def pods(resources: Iterable[Resource]) -> Iterator[tuple[str, Resource]]:
    """Yield the specification of every pod with the name of its process."""
    for resource in resources:
        if resource["kind"] in {"Deployment", "Job"}:
            yield resource["metadata"]["name"], resource["spec"]["template"]["spec"]


def test_chart_passes_the_linter() -> None:
    done = helm("lint", "--strict")
    assert done.returncode == 0, done.stdout


def check_of_kubernetes(resources: Iterable[Resource]) -> set[str]:
    """Check the resources that Kubernetes itself defines by its strict schemas; return their kinds."""
    definitions = json.loads((SCHEMAS / "_definitions.json").read_text())
    checked = set()
    for resource in resources:
        group, _, version = resource["apiVersion"].rpartition("/")
        if resource["apiVersion"] in NOT_OF_KUBERNETES:
            continue
        name = "-".join(part for part in (resource["kind"].lower(), group.removesuffix(".k8s.io"), version) if part)
        schema = json.loads((SCHEMAS / f"{name}.json").read_text())
        validator = jsonschema_rs.validator_for(
            schema, base_uri="https://schemas.test/api/kind.json", retriever=lambda _uri: definitions
        )
        errors = [
            f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in validator.iter_errors(resource)
        ]
        assert errors == [], f"{resource['kind']} {resource['metadata']['name']}"
        checked.add(resource["kind"])
    return checked


def test_resources_are_valid_for_kubernetes(resources: list[Resource]) -> None:
    assert check_of_kubernetes(resources) == {
        "ConfigMap",
        "Deployment",
        "Service",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "Job",
    }


@pytest.mark.parametrize("change", [{"spec": {"replicas": "two"}}, {"spec": {"replica": 2}}])
def test_schemas_refuse_what_kubernetes_refuses(resources: list[Resource], change: Resource) -> None:
    broken = of_kind(resources, "Deployment")["auth"] | change
    with pytest.raises(AssertionError):
        check_of_kubernetes([broken])


def resolved(container: Resource, secrets: dict[str, str]) -> dict[str, str]:
    """Return the environment of a container as Kubernetes makes it: $(NAME) is replaced by variables before."""
    environment: dict[str, str] = {}
    for entry in container["env"]:
        if "value" in entry:
            value = re.sub(r"\$\((\w+)\)", lambda match: environment.get(match[1], match[0]), entry["value"])
        else:
            reference = entry["valueFrom"]["secretKeyRef"]
            if reference.get("optional") and reference["key"] not in secrets:
                continue
            value = secrets[reference["key"]]
        environment[entry["name"]] = value
    return environment


def test_processes_run_as_compose_runs_them(resources: list[Resource]) -> None:
    secrets = {name: f"secret-{name}" for process in PROCESSES.values() for name in process["secrets"]}
    settings = yaml.safe_load((CHART / "values.yaml").read_text())["settings"]
    settings |= yaml.safe_load(VALUES.read_text())["settings"]
    definitions = compose.read(chart.COMPOSE_FILE, settings | secrets)
    pod_specs = dict(pods(resources))
    assert pod_specs.keys() == PROCESSES.keys()
    for name, pod in pod_specs.items():
        (container,) = pod["containers"]
        definition = definitions[name]
        assert tuple(container["command"]) == definition.command
        expected = {
            variable: value
            for variable, value in definition.environment.items()
            if value and not chart.FOR_DEMONSTRATIONS.fullmatch(variable)
        }
        environment = resolved(container, secrets)
        assert {variable: environment.get(variable) for variable in expected} == expected
        assert pod["terminationGracePeriodSeconds"] >= definition.stop_grace_seconds
        listens = {definition.listen_port, definition.metrics_port} - {None}
        assert {port["containerPort"] for port in container.get("ports", [])} == listens


def test_probes_are_those_of_compose(resources: list[Resource]) -> None:
    for name, deployment in of_kind(resources, "Deployment").items():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        probe = PROCESSES[name]["probe"]
        ready = container.get("readinessProbe")
        if probe is None:
            assert ready is None
        else:
            parts = urlsplit(probe)
            assert ready["httpGet"] == {"path": parts.path, "port": parts.port}
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": PROCESSES[name]["metrics"]}


def test_liveness_does_not_end_a_start_of_minutes(resources: list[Resource]) -> None:
    for deployment in of_kind(resources, "Deployment").values():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        starting = container["startupProbe"]
        assert starting["httpGet"] == container["livenessProbe"]["httpGet"]
        assert starting["periodSeconds"] * starting["failureThreshold"] >= 300


def test_terminating_pods_serve_until_callers_have_left_them_out(resources: list[Resource]) -> None:
    for seconds, rendering in ((15, resources), (40, rendered("--set", "drainSeconds=40"))):
        for name, deployment in of_kind(rendering, "Deployment").items():
            pod = deployment["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            process, drained = PROCESSES[name], seconds if PROCESSES[name]["port"] else 0
            assert container.get("lifecycle", {}) == ({"preStop": {"sleep": {"seconds": drained}}} if drained else {})
            assert pod["terminationGracePeriodSeconds"] == process["graceSeconds"] + drained


def test_pods_have_no_rights_that_they_do_not_need(resources: list[Resource]) -> None:
    for _, pod in pods(resources):
        assert pod["automountServiceAccountToken"] is False
        assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001)
        (container,) = pod["containers"]
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"] and container["resources"]["requests"]["cpu"]


def test_each_pod_has_its_own_certificate_with_a_key_that_libpq_accepts(resources: list[Resource]) -> None:
    for name, pod in pods(resources):
        secret = pod["volumes"][0]["secret"]
        assert secret == {"secretName": f"repruv-tls-{PROCESSES[name]['certificate']}", "defaultMode": 0o440}
        assert pod["containers"][0]["volumeMounts"][0]["mountPath"] == f"/certificates/{PROCESSES[name]['certificate']}"


def test_certificates_name_what_ours_name(resources: list[Resource]) -> None:
    requested = of_kind(resources, "Certificate")
    identities = {identity.name: identity for identity in certificates.IDENTITIES if identity.name in requested}
    assert requested.keys() == {process["certificate"] for process in PROCESSES.values()} == identities.keys()
    for name, certificate in requested.items():
        assert certificate["spec"]["uris"] == [f"spiffe://repruv/{name}"]
        assert certificate["spec"].get("dnsNames", []) == ([name] if name in ("auth", "demo", "jobs") else [])


def test_services_are_headless_so_that_callers_balance_over_all_pods(resources: list[Resource]) -> None:
    services = of_kind(resources, "Service")
    assert services.keys() == {name for name, process in PROCESSES.items() if process["port"]}
    for name, service in services.items():
        assert (service["spec"].get("clusterIP") == "None") == (name != "gateway")
        assert [port["port"] for port in service["spec"]["ports"]] == [PROCESSES[name]["port"]]
        assert service["spec"]["selector"] == selector(resources, name)
    targets = {
        entry["value"]
        for _, pod in pods(resources)
        for entry in pod["containers"][0]["env"]
        if entry["name"].endswith("_TARGET")
    }
    assert targets == {f"{name}:{PROCESSES[name]['port']}" for name in ("auth", "demo", "jobs")}


def selector(resources: Iterable[Resource], name: str) -> Resource:
    """Return the labels by which the pods of a process are selected, which its template has."""
    deployment = of_kind(resources, "Deployment")[name]
    labels: Resource = deployment["spec"]["selector"]["matchLabels"]
    assert labels.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    return labels


def test_each_process_has_a_disruption_budget_and_is_scaled_once(resources: list[Resource]) -> None:
    budgets, deployments = of_kind(resources, "PodDisruptionBudget"), of_kind(resources, "Deployment")
    serving = {name for name in RUNNING if PROCESSES[name]["port"]}
    assert sorted(budgets) == sorted(deployments) == RUNNING
    assert of_kind(resources, "HorizontalPodAutoscaler").keys() == serving
    assert of_kind(resources, "ScaledObject").keys() == set(RUNNING) - serving
    for name in RUNNING:
        assert budgets[name]["spec"]["selector"]["matchLabels"] == selector(resources, name)
        # An upgrade must not undo what an autoscaler decided.
        assert "replicas" not in deployments[name]["spec"]
    fixed = of_kind(rendered("--set", "autoscaling.enabled=false,keda.enabled=false"), "Deployment")
    assert {name: deployment["spec"]["replicas"] for name, deployment in fixed.items()} == dict.fromkeys(RUNNING, 2)


def test_workers_are_scaled_by_a_metric_that_the_jobs_service_has(resources: list[Resource]) -> None:
    source = (ROOT / "services/jobs/metrics.py").read_text()
    for name, scaled in of_kind(resources, "ScaledObject").items():
        assert scaled["spec"]["scaleTargetRef"] == {"name": name}
        (trigger,) = scaled["spec"]["triggers"]
        (metric,) = re.findall(r"(\w+)\{", trigger["metadata"]["query"])
        assert f'"{metric}"' in source
        assert f'kind=~"{PROCESSES[name]["image"]}[.]' in trigger["metadata"]["query"]
        concurrency = {"auth-worker": "8", "demo-worker": "4"}[name]
        assert trigger["metadata"]["threshold"] == concurrency


def test_migrations_run_before_the_processes_change(resources: list[Resource]) -> None:
    (job,) = of_kind(resources, "Job").values()
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["activeDeadlineSeconds"] == 1800
    # What it needs before the release exists is a hook that comes earlier, or is made by the operator.
    before = [resource for resource in resources if resource["metadata"]["name"] in ("migrate", "provision")]
    assert {resource["kind"] for resource in before} == {"Job", "NetworkPolicy", "Certificate"}
    assert all("helm.sh/hook" in resource["metadata"]["annotations"] for resource in before)


def test_network_policies_allow_the_calls_of_the_documentation_and_no_others(resources: list[Resource]) -> None:
    policies = of_kind(resources, "NetworkPolicy")
    assert policies.keys() == PROCESSES.keys()
    expected = {
        (caller, rpc.containing_service.full_name.split(".")[1])
        for rpc in callers.rpcs()
        for caller in ("auth", "demo", "gateway")
        if caller in callers.tables()[rpc.containing_service.full_name][rpc.name]
    }
    into = {
        (peer, name) for name, policy in policies.items() for peer in peers(policy["spec"].get("ingress", []), "from")
    }
    out = {(name, peer) for name, policy in policies.items() for peer in peers(policy["spec"]["egress"], "to")}
    assert into == out
    assert {(PROCESSES[name]["image"], peer) for name, peer in out} == expected


def peers(rules: Iterable[Resource], direction: str) -> Iterator[str]:
    """Yield the processes that a policy names."""
    for rule in rules:
        for peer in rule.get(direction, []):
            if "podSelector" in peer:
                yield peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]


def test_only_auth_reaches_the_internet(resources: list[Resource]) -> None:
    policies = of_kind(resources, "NetworkPolicy")
    reaching = {
        name for name, policy in policies.items() if any("ipBlock" in str(rule) for rule in policy["spec"]["egress"])
    }
    assert reaching == {"auth", "auth-worker"}
    assert not any(
        rule.get("to") is None and "ports" not in rule for p in policies.values() for rule in p["spec"]["egress"]
    )


def test_rules_and_dashboards_are_those_of_the_repository(resources: list[Resource], tmp_path: Path) -> None:
    (rules,) = of_kind(resources, "PrometheusRule").values()
    alerts = {rule["alert"]: rule for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule}
    text = (ROOT / "deploy/prometheus/alerts.yml").read_text() + (ROOT / "deploy/prometheus/slo.yml").read_text()
    assert alerts.keys() == set(re.findall(r"- alert: (\w+)", text))
    url = "https://docs.example.com/docs/runbook/ALERT.html"
    assert all(
        rule["annotations"]["runbook_url"] == f'{{{{ reReplaceAll "ALERT" "{name}" "{url}" }}}}'
        for name, rule in alerts.items()
    )
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules["spec"]))
    line = [promtool(), "check", "rules", str(tmp_path / "rules.yml")]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    files = {path.stem: path.read_text() for path in (ROOT / "deploy/grafana/dashboards").glob("*.json")}
    assert {name: config["data"][f"{name}.json"] for name, config in of_kind(resources, "ConfigMap").items()} == files


def test_metrics_are_scraped_at_the_ports_of_the_pods_by_process(resources: list[Resource]) -> None:
    (monitor,) = of_kind(resources, "PodMonitor").values()
    ports = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
    for name, deployment in of_kind(resources, "Deployment").items():
        template = deployment["spec"]["template"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        (container,) = template["spec"]["containers"]
        scraped = [port["containerPort"] for port in container["ports"] if port["name"] in ports]
        assert scraped == [PROCESSES[name]["metrics"]]
        assert template["metadata"]["labels"]["app.kubernetes.io/component"] == name


def test_monitoring_is_off_by_default() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())["monitoring"]
    assert [values[part]["enabled"] for part in ("pods", "rules", "dashboards")] == [False, False, False]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("image.registry=", "image.registry is required"),
        ("settings.PUBLIC_URL=", "settings.PUBLIC_URL is required"),
        ("settings.TRUSTED_PROXIES=", "settings.TRUSTED_PROXIES is required"),
        ("settings.POSTGRES_HOSTS=", "settings.POSTGRES_HOSTS is required"),
        ("keda.prometheus=", "keda.prometheus is required"),
        ("keda.enable=true", "enable"),
        ("processes.auth.replicas=many", "replicas"),
        ("processes.gatway.replicas=3", "processes.gatway is no process"),
        ("settings.LOG_LEVL=debug", "settings.LOG_LEVL is no setting"),
        (
            "settings.EMAIL_URL=smtps://user:password@smtp.example.com",
            "settings.EMAIL_URL is no setting: the Secret has secrets",
        ),
        ("monitoring.runbookUrl=https://docs.example.com", "runbookUrl"),
    ],
)
def test_wrong_values_are_refused_by_name(setting: str, message: str) -> None:
    done = helm("template", "--set", setting)
    assert done.returncode != 0
    assert message in done.stderr
