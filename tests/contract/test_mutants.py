"""Each mutant applies, names existing tests, and has a row in docs/reliability.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.mutants.__main__ import Mutant, read

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reliability.md").read_text()
MUTANTS = read()
TEST_NAMES = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
}
FINDINGS = [*(f"P{number}" for number in range(1, 19)), *(f"S{number}" for number in range(1, 21))]


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table of a section, without its head."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_applies_and_its_tests_exist(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    files = [argument for argument in mutant.tests if argument.startswith("tests/")]
    assert files
    assert all((ROOT / file).is_file() for file in files)
    if "-k" in mutant.tests:
        word = mutant.tests[mutant.tests.index("-k") + 1]
        assert any(word in (ROOT / file).read_text() for file in files), word


def test_page_lists_every_mutant() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names)
    listed = [guard.removesuffix(".") for guard, _ in rows("Guards and the tests that fail without them")]
    assert listed == [mutant.guard for mutant in MUTANTS]


def test_page_names_tests_that_exist() -> None:
    assert set(re.findall(r"`(test_\w+)`", PAGE)) <= TEST_NAMES
    assert all((ROOT / path).is_file() for path in re.findall(r"`(tests/[\w/]+\.py)`", PAGE))


def test_every_finding_of_the_review_has_its_mend_and_mutants() -> None:
    audit = rows("Findings of a review")
    assert [row[0] for row in audit] == FINDINGS
    named = {name for row in audit for name in re.findall(r"`([a-z0-9-]+)`", row[-1])}
    assert named <= {mutant.name for mutant in MUTANTS}
    for row in audit:
        assert re.findall(r"`([a-z0-9-]+)`", row[-1]) or "not promised" in row[-1], row
