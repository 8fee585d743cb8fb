"""Everything that grows has a bound in docs/bounds.md: tables, streams, maps and files. A new one without a bound fails here."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from nats.js.api import DiscardPolicy

from chassis import streams
from provision.services import SERVICES
from tests.contract.test_schemas import PARTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/bounds.md").read_text()
PACKAGES = ("chassis", "gateway", "lifecycle", "services", "worker")
CONTAINERS = {
    *(
        "dict",
        "set",
        "list",
        "deque",
        "defaultdict",
        "OrderedDict",
        "Counter",
        "WeakKeyDictionary",
        "WeakValueDictionary",
    ),
    *("WeakSet", "Queue", "LifoQueue", "PriorityQueue", "SimpleQueue"),
}
TEST_NAME = re.compile(r"`(test_\w+)`")
TEST_PATH = re.compile(r"`(tests/[\w/]+\.py)`")


def rows(heading: str) -> dict[str, tuple[str, str]]:
    """Return the bound and the evidence of each row of the page's tables."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert all(len(row) == 3 for row in cells), heading
    return {name: (bound, held_by) for names, bound, held_by in cells for name in re.findall(r"`([^`]+)`", names)}


def tables() -> set[str]:
    """Return the tables of the schemas of all services."""
    names = set()
    for service in SERVICES:
        metadata = importlib.import_module(f"services.{service}.schema").metadata
        for part in PARTS.get(service, ()):
            importlib.import_module(part)
        names |= set(metadata.tables)
    return names


def name_of_call(node: ast.expr | None) -> str:
    """Return the last name of a called function; empty for no call."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def is_empty_container(node: ast.expr | None) -> bool:
    """Return whether an expression makes a container that is filled later."""
    if isinstance(node, ast.Dict):
        return not node.keys
    if isinstance(node, ast.List):
        return not node.elts
    # Counter("name", …) is a metric.
    return name_of_call(node) in CONTAINERS and isinstance(node, ast.Call) and not node.args


def assigned(statements: list[ast.stmt]) -> Iterator[str]:
    """Yield the targets to which an empty container is assigned."""
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Assign | ast.AnnAssign) and is_empty_container(node.value):
                yield ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)


def containers() -> set[str]:
    """Return all containers of modules and of objects, and caches without a size, each as `path: name`."""
    names_of_containers = set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        if "migrations" in path.parts or path.parts[-2:] == ("worker", "testing.py"):
            continue
        module = ast.parse(path.read_text())
        place = path.relative_to(ROOT).as_posix()
        simple = [node for node in module.body if isinstance(node, ast.Assign | ast.AnnAssign)]
        names_of_containers |= {f"{place}: {name}" for name in assigned(list(simple))}
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef):
                starts = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
                names = (name for start in starts for name in assigned(start.body) if name.startswith("self."))
                names_of_containers |= {f"{place}: {node.name}.{name.removeprefix('self.')}" for name in names}
            if isinstance(node, ast.FunctionDef):
                decorators = {ast.unparse(decorator).removeprefix("functools.") for decorator in node.decorator_list}
                has_parameters = any((node.args.args, node.args.kwonlyargs, node.args.vararg))
                if has_parameters and decorators & {"cache", "lru_cache", "lru_cache(maxsize=None)"}:
                    names_of_containers.add(f"{place}: {node.name}")
    return names_of_containers


def test_every_table_has_a_bound() -> None:
    assert set(rows("Tables")) == tables()


def test_every_stream_has_a_bound() -> None:
    assert set(rows("Streams")) == {streams.stream_name(service) for service in SERVICES}
    for service in SERVICES:
        config = streams.stream_config(service, 1)
        assert config.max_bytes == 1 << 30
        assert config.max_age == (300 if service == "auth" else 72 * 3600)
        assert config.discard == DiscardPolicy.OLD


def test_everything_in_memory_has_a_bound() -> None:
    assert set(rows("Memory of processes")) == containers()


def test_every_volume_and_log_has_a_bound() -> None:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert set(rows("Files")) >= set(document["volumes"])
    for name, service in document["services"].items():
        assert service.get("logging") == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}}, name


@pytest.mark.parametrize("heading", ["Tables", "Streams", "Memory of processes", "Files"])
def test_bounds_are_stated_and_their_tests_exist(heading: str) -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name, (bound, held_by) in rows(heading).items():
        assert bound, name
        assert all(f"def {test}(" in sources for test in TEST_NAME.findall(held_by)), name
        assert all((ROOT / path).is_file() for path in TEST_PATH.findall(held_by)), name


def test_reliability_names_tests_that_exist() -> None:
    page = (ROOT / "docs/reliability.md").read_text()
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in set(TEST_NAME.findall(page)) if f"def {name}(" not in sources] == []
    assert [path for path in set(TEST_PATH.findall(page)) if not (ROOT / path).is_file()] == []
