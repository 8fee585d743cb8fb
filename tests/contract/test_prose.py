"""The words of code and documents: see docs/glossary.md and the rules in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = (
    "bench",
    "chassis",
    "deploy",
    "dev",
    "docs",
    "gateway",
    "lifecycle",
    "protos/repruv",
    "provision",
    "services",
    "worker",
)
KINDS = {
    ".conf",
    ".css",
    ".d.ts",
    ".html",
    ".js",
    ".json",
    ".md",
    ".mjs",
    ".proto",
    ".py",
    ".sh",
    ".sql",
    ".toml",
    ".yml",
}
EXCEPTIONS = ("services/demo/dataset/", "tests/contract/test_prose.py")
BANNED = re.compile(
    r"""\b(
        whoever | anew | doorbells? | coalesc(?!e\() \w* | wish(es|ed)? | leftovers | forgery | everybody | patience | patiently
        | succession | arrivals | telling | vouch(es|ed)? | told | tell\ of | by\ itself | somebody's\ eye | what\ is\ no
        | hasten | heal(s|ed)? | tend(s|ed)? | in\ the\ hands | unless\ given
        | nobody\ hears | the\ door | on\ its\ way | in\ the\ very | comes\ to\ an\ end
        | overtaken | stale\ attempts? | strays | sweepers? | for\ so\ long | for\ so\ many | moves?\ it\ out
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)
VAGUE_NAMES = frozenset(
    {
        "around",
        "asked",
        "begun",
        "both",
        "can",
        "caught",
        "does",
        "found",
        "given",
        "gone",
        "got",
        "heard",
        "how",
        "kept",
        "known",
        "made",
        "meant",
        "mine",
        "needed",
        "none",
        "of",
        "one",
        "ours",
        "said",
        "same",
        "seen",
        "shown",
        "theirs",
        "told",
        "wanted",
        "who",
    }
)
"""Participles, prepositions and pronouns that name no thing, with or without a leading underscore."""
OPENERS = re.compile(r"(Give|Gives|Say|Says)\b")


def files(*parts: str) -> Iterator[Path]:
    """Yield the source and documentation files below these folders of the tree."""
    for part in parts:
        for path in sorted((ROOT / part).rglob("*")):
            hidden = {"__pycache__", "node_modules", "peers"} & set(path.parts)
            if path.is_file() and path.suffix in KINDS and not hidden and not path.name.startswith("package"):
                yield path


def test_banned_words_are_absent() -> None:
    paths = [
        *files(*PARTS, "tests"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile")),
    ]
    assert len(paths) > 400
    offences = [
        f"{name}:{number}: {match[0]}"
        for path in paths
        if not (name := path.relative_to(ROOT).as_posix()).startswith(EXCEPTIONS)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (match := BANNED.search(line))
    ]
    assert offences == []


@functools.cache
def offences_of_syntax() -> tuple[list[str], list[str]]:
    """Return the vague names and the docstrings with a bad opening. Each file is parsed once for both."""
    names, docstrings = [], []
    for path in files(*PARTS, "tests"):
        if path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if (name := _bound_name(node)) and name.strip("_") in VAGUE_NAMES:
                names.append(f"{_place(path, node)}: {name}")
            if OPENERS.match(_docstring(node)):
                docstrings.append(_place(path, node))
    return names, docstrings


def test_names_are_not_pronouns_or_participles() -> None:
    names, _ = offences_of_syntax()
    assert names == []


def test_docstrings_do_not_open_with_give_or_say() -> None:
    _, docstrings = offences_of_syntax()
    assert docstrings == []


def _bound_name(node: ast.AST) -> str | None:
    """Return the name that a node of a syntax tree gives to a variable, an attribute, a parameter, a function or a class."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            return name
        case ast.arg(arg=name) | ast.FunctionDef(name=name):
            return name
        case ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
    return None


def _docstring(node: ast.AST) -> str:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return ast.get_docstring(node) or ""
    return ""


def _place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"
