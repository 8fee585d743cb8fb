"""The figures of README.md are those of the pages that it links."""

from __future__ import annotations

import re

from tests.contract.documented import ROOT

ROW = re.compile(r"^\| [^|]+ \| ([^|]+) \| \[[^\]]+\]\(([\w./-]+\.md)(?:#[\w-]+)?\) \|$", re.MULTILINE)
NUMBER = re.compile(r"(?<![\d.])\d+(?:\.\d+)?(?![\d.])")


def test_figures_of_the_readme_are_on_the_linked_pages() -> None:
    section = (ROOT / "README.md").read_text().partition("\n## Figures\n")[2].partition("\n## ")[0]
    rows = ROW.findall(section)
    assert len(rows) >= 5
    for figures, page in rows:
        on_page = set(NUMBER.findall((ROOT / page).read_text()))
        assert set(NUMBER.findall(figures)) <= on_page, f"{page} has other figures than {figures}"
