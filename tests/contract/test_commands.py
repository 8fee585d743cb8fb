"""Commands in the documentation exist: targets, modules, subcommands, options, Compose services, files and variables.

tests/acceptance/test_documented_commands.py runs those that work on a running system.
"""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from services.jobs.admin import arguments
from tests.contract.documented import PROGRAMS, ROOT, Command, commands, pages, spans

MAKEFILE = (ROOT / "Makefile").read_text()
RECIPES = dict(re.findall(r"^([a-z-]+):.*\n((?:\t.*\n)*)", MAKEFILE, re.MULTILINE))
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
COMPOSE_OPTIONS_WITH_VALUE = {"--profile", "--scale", "--user", "--env", "--entrypoint", "--volume", "-s"}
PLACEHOLDER = re.compile(r"[A-Z]+|.*[…\[\]<>].*")
NAME = re.compile(r"\b[A-Z][A-Z0-9_]+\b")
MESSAGE = re.compile(r"[a-z]+( [a-z]+)+")
NOT_OUR_MESSAGES = {"no space left on device", "insufficient storage resources", "nats stream edit"}
"""What NATS says, and a command of its tool."""
OTHER_NAMES = ("docs/decisions/", "docs/scale.md", "docs/pages.md", "docs/bounds.md", "docs/performance.md")
"""Pages with names of statements, errors and constants."""


@functools.cache
def names_in_sources() -> set[str]:
    """Return the names in capitals in all tracked files but Markdown and this one."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    texts = (ROOT / name for name in listed if not name.endswith((".md", ".png", ".ico", ".woff2", "test_commands.py")))
    return {name for path in texts if path.is_file() for name in NAME.findall(path.read_text(errors="replace"))}


def check_make(command: Command) -> None:
    targets = command.words[1:]
    assert set(targets) <= RECIPES.keys()
    for name in command.variables.keys() - {"ARGS", "FILE"}:
        assert name in names_in_sources(), name
    words = shlex.split(command.variables.get("ARGS", "").replace("…", ""))
    if "admin" in targets and words:
        check_admin(words)
    elif targets == ("test",):
        check_paths(words)
    elif words and targets != ("job",):
        for module in re.findall(r"python -m ([\w.]+)", RECIPES[targets[0]]):
            check_arguments(module, words)


def check_admin(words: Sequence[str]) -> None:
    if not any("…" in word for word in words) and "--help" not in words:
        arguments.parse([re.sub(r"\bN\b", "5", word).replace("JSON", "{}") for word in words])


def check_paths(words: Sequence[str]) -> None:
    assert all((ROOT / word.partition("::")[0]).exists() for word in words if word.startswith("tests/"))


def check_python(words: Sequence[str]) -> None:
    if "-m" not in words:
        return
    module, *rest = words[words.index("-m") + 1 :]
    if module in ("timeit", "repruv_client"):
        return
    spec = find_spec(f"{module}.__main__") if (ROOT / module.replace(".", "/")).is_dir() else find_spec(module)
    assert spec is not None, module
    if module == "services.jobs" and rest[:1] == ["admin"]:
        check_admin(rest[1:])
    else:
        check_arguments(module, rest)


def check_arguments(module: str, words: Sequence[str]) -> None:
    """Options and subcommands must be in the source of the module, or of the package whose command it is."""
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin)
    path = path.parent if path.name == "__init__.py" else path.with_suffix("")
    files = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    source = "\n".join(file.read_text() for file in files)
    if module == "dev":
        source += (ROOT / "dev" / "demo.py").read_text()
    for position, word in enumerate(words):
        is_value = position > 0 and words[position - 1].startswith("--")
        if word.startswith("--") or (re.fullmatch(r"[a-z][a-z-]+", word) and not is_value and position == 0):
            name = word.partition("=")[0]
            # Some options are made of the names of fields.
            field = re.escape(name.removeprefix("--").replace("-", "_"))
            is_generated = 'f"--{' in source and re.search(rf"^    {field}: ", source, re.MULTILINE)
            assert f'"{name}"' in source or is_generated or (path / f"{name}.py").exists(), word


def check_docker(words: Sequence[str]) -> None:
    if words[1] in ("run", "tag", "push"):
        assert all(re.search(r"repruv-(auth|demo|jobs|gateway|provision):", word) for word in words if ":" in word), (
            words
        )
        check_python([word for word in words if word != "docker"])
        return
    assert words[1] == "compose"
    positional: list[str] = []
    rest = list(words[2:])
    while rest and len(positional) < 2:
        word = rest.pop(0)
        if word in COMPOSE_OPTIONS_WITH_VALUE:
            value = rest.pop(0)
            if word == "--profile":
                assert any(value in service.get("profiles", ()) for service in COMPOSE.values()), value
            elif word == "--scale":
                assert value.partition("=")[0] in COMPOSE, value
        elif not word.startswith("-"):
            positional.append(word)
            if len(positional) == 2 and positional[0] in ("exec", "run"):
                break
    subcommand = positional[0] if positional else ""
    services = positional[1:] + ([] if subcommand in ("exec", "run") else [word for word in rest if word[0] != "-"])
    assert all(service in COMPOSE or PLACEHOLDER.fullmatch(service) for service in services), services
    if rest[:1] == ["python"]:
        check_python(rest)
    for word in rest:
        if match := re.fullmatch(r"/etc/repruv/(\S+)", word):
            assert (ROOT / "deploy" / match[1]).exists(), word


def check_files(words: Sequence[str]) -> None:
    """Files of this repository that a command reads exist."""
    assert all((ROOT / word).exists() for word in words[1:] if word.startswith(("deploy/", "docs/", "tests/")))


def check_kubectl(words: Sequence[str]) -> None:
    """Deployments are processes; what runs in them is a command of ours."""
    targets = [word.partition("/")[2] for word in words if re.match("deploy(ment)?/[^/]+$", word)]
    # A path of the chart or of an example has further parts.
    check_files([word for word in words if word.count("/") != 1])
    assert all(target in COMPOSE or PLACEHOLDER.fullmatch(target) for target in targets), targets
    rest = list(words[words.index("--") + 1 :]) if "--" in words else []
    if rest[:1] == ["python"]:
        check_python(rest)


CHECKS: dict[str, Callable[[Sequence[str]], None]] = {
    "python": check_python,
    "docker": check_docker,
    "admin": lambda words: check_admin(words[1:]),
    "kubectl": check_kubectl,
}


def problem(command: Command) -> str:
    """Return what is wrong with a command, empty if nothing is."""
    try:
        if command.program == "make":
            check_make(command)
        else:
            CHECKS.get(command.program, check_files)(command.words)
    except (AssertionError, SystemExit, IndexError, ValueError) as error:
        return f"{command.page}: {command.text}: {error}"
    return ""


def test_log_messages_of_the_runbook_are_logged() -> None:
    named = {span for page, text in pages().items() if page.startswith("docs/runbook/") for span in spans(text)}
    messages = {
        span for span in named if MESSAGE.fullmatch(span) and span.split()[0] not in PROGRAMS
    } - NOT_OUR_MESSAGES
    assert len(messages) > 10
    folders = ("chassis", "gateway", "lifecycle", "services", "worker")
    sources = "".join(path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py"))
    assert {message for message in messages if f'"{message}"' not in sources} == set()


def test_commands_exist() -> None:
    documented_commands = commands(pages())
    assert len(documented_commands) > 250
    assert {command.program for command in documented_commands} >= {
        "make",
        "python",
        "docker",
        "admin",
        "helm",
        "kubectl",
    }
    assert [text for command in documented_commands if (text := problem(command))] == []


@pytest.mark.parametrize(
    "text",
    [
        "make upp",
        "make up SCALLE=2",
        "make test ARGS=tests/nowhere",
        'make admin ARGS="lst"',
        "make bench ARGS=no-suite",
        "make demo ARGS=--survives",
        "python -m services.nowhere serve",
        "python -m services.auth serv",
        "python -m provision import-legacy --form URL",
        "docker compose restart postgress",
        "docker compose exec jobs python -m services.jobs admin lst",
        "docker compose exec postgres sh /etc/repruv/postgres/nothing",
        "docker compose --profile observe up",
        "cat deploy/nothing.env",
        "kubectl -n repruv exec deploy/job -- python -m services.jobs admin kinds",
        "kubectl -n repruv exec deploy/jobs -- python -m services.jobs admin kindz",
    ],
)
def test_commands_that_do_not_exist_are_found(text: str) -> None:
    (command,) = commands({"page.md": f"`{text}`"})
    assert problem(command)


def test_variables_exist() -> None:
    texts = {page: text for page, text in pages().items() if page.startswith(("README.md", "docs/"))}
    named = [(page, span) for page, text in texts.items() for span in spans(text)]
    named += [(command.page, command.text) for command in commands(texts)]
    unknown = {
        f"{page}: {name}"
        for page, text in named
        if not page.startswith(OTHER_NAMES)
        for name in NAME.findall(text)
        if "_" in name and name not in names_in_sources()
    }
    assert unknown == set()
