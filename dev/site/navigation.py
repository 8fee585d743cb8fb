"""The navigation of the documentation site. MkDocs refuses a page of docs/ that is not in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

SECTIONS: dict[str, list[str]] = {
    "Start": ["README.md", "docs/first-job-kind.md"],
    "Build": ["docs/new-operation.md", "docs/frontend.md", "docs/calling-us.md", "CONTRIBUTING.md"],
    "Operate": [
        *(f"docs/{name}.md" for name in ("operations", "kubernetes", "high-availability", "tracing", "cut-over")),
    ],
    "Reference": ["docs/configuration.md", "docs/bounds.md", "docs/dependencies.md", "CHANGELOG.md"],
    "Explanation": [
        *(
            f"docs/{name}.md"
            for name in ("architecture", "jobs-engine", "streams", "reliability", "performance", "scale")
        ),
        "docs/pages.md",
        "docs/security.md",
    ],
}
FOLDERS = {"Runbook": "docs/runbook/", "Decisions": "docs/decisions/"}
GLOSSARY = "docs/glossary.md"


def build_navigation(pages: Iterable[str], references: Iterable[str]) -> str:
    """Return the part of mkdocs.yml that places the pages and the generated references."""
    sections: dict[str, list[Any]] = {name: list(listed) for name, listed in SECTIONS.items()}
    placed = {page for listed in SECTIONS.values() for page in listed} | {GLOSSARY}
    for name, folder in FOLDERS.items():
        index = f"{folder}README.md"  # first: MkDocs opens it for the section
        sections[name] = [index, *(page for page in pages if page.startswith(folder) and page != index)]
        placed |= set(sections[name])
    for name in ("REST", "gRPC", "events"):
        listed = sorted(page for page in references if page.startswith(f"reference/{name.lower()}"))
        sections["Reference"].insert(0, {name: listed} if len(listed) > 1 else listed[0])
    sections["Explanation"].append(
        {"Folders": [page for page in pages if page not in placed and not page.startswith("docs/")]}
    )
    nav = [*({name: listed} for name, listed in sections.items()), {"Glossary": GLOSSARY}]
    return yaml.safe_dump({"nav": nav}, sort_keys=False)
