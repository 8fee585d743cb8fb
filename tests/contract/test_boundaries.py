"""The allowed imports between the parts of the tree."""

from __future__ import annotations

import ast
import functools
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import worker
from provision.services import SERVICES

ROOT = Path(__file__).parents[2]
OURS = {"bench", "chassis", "dev", "gateway", "lifecycle", "provision", "repruv", "services", "worker"}

# The allowed imports of each part, as prefixes. Every part may import itself.
ALLOWED = {
    "chassis": (),
    "worker": ("chassis", "repruv.jobs"),
    "lifecycle": ("chassis", "worker", "repruv.jobs"),
    "gateway": ("chassis", "repruv"),
    "provision": ("chassis",),
    "services.auth": ("chassis", "lifecycle", "worker", "repruv.auth", "repruv.demo", "repruv.jobs"),
    "services.jobs": ("chassis", "worker", "repruv.jobs"),
    "services.demo": ("chassis", "lifecycle", "worker", "repruv.demo", "repruv.jobs"),
}

PUBLIC_WORKER_MODULES = {"worker.client", "worker.liveness", "worker.outbox", "worker.testing"}
"""The public modules of worker, besides the names that `worker/__init__.py` exports."""

# Modules of a service and of its features, from the inside out: none imports a later one.
INWARD = ("domain", "schema", "storage", "context", "operations", "servicer", "__main__")
OPTIONAL = {"context"}
# Modules of the gateway, from the inside out: none imports one of its own or a later row.
GATEWAY_ROOMS = (
    ("metrics", "problems", "views", "demo_options", "idempotency", "durations"),
    ("labels",),
    ("flash",),
    ("identity", "redirects"),
    ("clients",),
    ("middleware",),
    ("stream",),
    ("container",),
    ("search",),
    ("api", "pages"),
    ("app",),
)


@functools.cache
def imports(path: Path) -> tuple[str, ...]:
    """Name what a file imports, modules of `from package import module` included."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names += (f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(names)


def files(part: str) -> list[Path]:
    """List the files of a part."""
    return sorted(ROOT.joinpath(*part.split(".")).rglob("*.py"))


def is_within(name: str, prefix: str) -> bool:
    """Return whether a dotted name is a package or inside it."""
    return name == prefix or name.startswith(f"{prefix}.")


@pytest.mark.parametrize("part", ALLOWED)
def test_parts_import_only_what_they_may(part: str) -> None:
    paths = files(part)
    assert paths
    foreign = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in paths
        for name in imports(path)
        if name.split(".")[0] in OURS
        and not is_within(name, part)
        and not any(is_within(name, allowed) for allowed in ALLOWED[part])
    }
    assert foreign == set()


def test_only_public_modules_of_worker_are_imported() -> None:
    exported = {f"worker.{name}" for name in worker.__all__}
    modules = {f"worker.{path.stem}" for path in (ROOT / "worker").glob("[!_]*.py")}
    assert modules == PUBLIC_WORKER_MODULES
    private = {
        f"{path.relative_to(ROOT)}: {name}"
        for part in (*OURS - {"worker", "repruv"}, "tests.integration", "tests.acceptance", "tests.chaos")
        for path in files(part)
        for name in imports(path)
        if is_within(name, "worker") and name not in exported | {"worker"}
        if not any(is_within(name, module) for module in modules)
    }
    assert private == set()


@pytest.mark.parametrize("service", SERVICES)
def test_rooms_import_inwards(service: str) -> None:
    package = f"services.{service}"
    assert {path.stem for path in files(package)} >= set(INWARD) - OPTIONAL
    outward = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files(package)
        if path.stem in INWARD
        for name in imports(path)
        if is_within(name, package)
        for room in name.split(".")[2:]
        if room in INWARD[INWARD.index(path.stem) + 1 :]
    }
    assert outward == set()


def test_rooms_of_the_gateway_import_inwards() -> None:
    rows = {room: row for row, rooms in enumerate(GATEWAY_ROOMS) for room in rooms}
    outward = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files("gateway")
        if (room := path.relative_to(ROOT / "gateway").parts[0].removesuffix(".py")) in rows
        for name in imports(path)
        if is_within(name, "gateway")
        and (other := name.split(".")[1]) in rows
        and other != room
        and rows[other] >= rows[room]
    }
    assert outward == set()


def test_rooms_of_the_gateway_do_not_import_in_circles() -> None:
    rooms = {path.name.removesuffix(".py") for path in (ROOT / "gateway").iterdir()}
    graph: dict[str, set[str]] = {}
    for path in files("gateway"):
        room = path.relative_to(ROOT / "gateway").parts[0].removesuffix(".py")
        others = {name.split(".")[1] for name in imports(path) if is_within(name, "gateway") and "." in name}
        graph.setdefault(room, set()).update(others & rooms - {room})
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("service", SERVICES)
def test_modules_do_not_import_in_circles(service: str) -> None:
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files(f"services.{service}")}
    graph = {
        module: {other for other in modules for name in imports(path) if other != module and is_within(name, other)}
        for module, path in modules.items()
    }
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("service", SERVICES)
def test_feature_folders_do_not_import_in_circles(service: str) -> None:
    folders = {f"services.{service}.{path.parent.name}" for path in ROOT.glob(f"services/{service}/*/__init__.py")}
    graph = {
        folder: {
            other
            for path in files(folder)
            for name in imports(path)
            for other in folders - {folder}
            if is_within(name, other)
        }
        for folder in folders
    }
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("service", SERVICES)
def test_domains_are_pure(service: str) -> None:
    allowed = (
        "chassis.addresses",
        "chassis.errors",
        "chassis.ids",
        "lifecycle.machine",
        "lifecycle.file_states",
        f"services.{service}.dataset",
    )
    third_party = {"grpc", "sqlalchemy", "faststream", "nats", "google", "repruv", "psycopg", "starlette", "asyncio"}
    domains = [path for path in files(f"services.{service}") if path.stem == "domain"]
    assert domains
    for path in domains:
        names = set(imports(path))
        own_names = {name for name in names if name.split(".")[0] in OURS}
        assert {
            name
            for name in own_names
            if not any(is_within(name, prefix) or prefix.startswith(name) for prefix in allowed)
        } - {"chassis.errors"} == set(), path
        assert {name for name in names if name.split(".")[0] in third_party} == set(), path


@pytest.mark.parametrize("service", SERVICES)
def test_servicers_subscribers_and_conversions_hold_no_sql(service: str) -> None:
    for path in files(f"services.{service}"):
        if path.stem in {"servicer", "subscriber", "convert"}:
            assert not {name for name in imports(path) if is_within(name, "sqlalchemy")}, path


def test_only_composition_roots_read_the_environment() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for part in ALLOWED
        for path in files(part)
        if path.name != "__main__.py" and "os.environ" in path.read_text()
    }
    # The worker processes of a gateway inherit the environment of their parent.
    assert readers == {"gateway/workers.py"}
