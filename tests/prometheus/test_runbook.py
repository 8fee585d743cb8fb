"""The runbook has a page for each alert and no other. tests/contract/test_commands.py checks its commands."""

from __future__ import annotations

import re

import pytest

from tests.prometheus.test_rules import ROOT, alerts

RUNBOOK = ROOT / "docs" / "runbook"
RUNBOOK_URL = '{{ reReplaceAll "ALERT" "NAME" $externalLabels.runbook }}'
PAGES = sorted(path.stem for path in RUNBOOK.glob("*.md") if path.stem != "README")


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert {rule["alert"] for rule in alerts()} == set(PAGES)
    for rule in alerts():
        assert rule["annotations"]["runbook_url"] == RUNBOOK_URL.replace("NAME", rule["alert"])


def test_the_list_of_pages_is_complete() -> None:
    assert sorted(re.findall(r"^\| \[\w+\]\((\w+)\.md\)", (RUNBOOK / "README.md").read_text(), re.MULTILINE)) == PAGES


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_to_look_at_and_what_to_do(page: str) -> None:
    text = (RUNBOOK / f"{page}.md").read_text()
    title, *sections = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    assert (title, sections) == (page, ["Look at", "Do", "Tried"])
