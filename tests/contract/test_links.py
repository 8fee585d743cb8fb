"""Relative links in Markdown files lead to files that exist, and the documentation site contains every page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from dev.site import navigation

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


def test_relative_links_lead_to_existing_files() -> None:
    names = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    documents = [ROOT / name for name in names.split() if (ROOT / name).exists()]
    assert len(documents) > 40
    broken = [
        f"{document.relative_to(ROOT)}: {link}"
        for document in documents
        for link in LINK.findall(document.read_text())
        if not (document.parent / link).exists()
    ]
    assert broken == []


def test_every_page_has_a_place_in_the_navigation_of_the_site() -> None:
    placed = {page for pages in navigation.SECTIONS.values() for page in pages} | {navigation.GLOSSARY}
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")} <= placed
    assert [page for page in placed if not (ROOT / page).exists()] == []
