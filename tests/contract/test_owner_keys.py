"""docs/scale.md lists the tables and statements with the owner's key, and the output of the sizing."""

from __future__ import annotations

import shlex

from bench.sizing import __main__ as sizing
from bench.sizing import costs
from tests.contract import owner_keys

BEGIN, END = "<!-- sizing -->", "<!-- end of sizing -->"
COMMAND = "python -m bench.sizing "


def test_page_lists_the_tables_and_statements_that_carry_the_owner() -> None:
    assert owner_keys.DOCUMENT.read_text() == owner_keys.page(), "write it again: python -m tests.contract.owner_keys"


def test_every_hot_statement_of_jobs_is_listed() -> None:
    listed = {name for names in owner_keys.statements().values() for name in names}
    assert {
        "jobs.statements.CLAIM_JOBS",
        "jobs.statements.COMPLETE_ATTEMPTS",
        "demo.storage.COMPLETE_SMALL_ENABLE",
    } <= listed


def test_page_shows_what_its_command_prints() -> None:
    text = owner_keys.DOCUMENT.read_text()
    line = next(line for line in text.splitlines() if line.startswith(COMMAND))
    printed = "\n".join(sizing.report(*sizing.parse(shlex.split(line.removeprefix(COMMAND)))))
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == printed


def test_costs_are_those_of_the_pages() -> None:
    performance = (owner_keys.ROOT / "docs/performance.md").read_text()
    operations = (owner_keys.ROOT / "docs/operations.md").read_text()
    engine = (owner_keys.ROOT / "docs/jobs-engine.md").read_text()
    assert f"| WAL, without images of whole pages | {costs.ENABLE_WAL / costs.KIB:.1f} KiB |" in performance
    assert f"jobs service takes {costs.JOB_MS['jobs']}, PostgreSQL {costs.JOB_MS['postgres']}, the worker" in " ".join(
        engine.split()
    )
    for name, connections in costs.CONNECTIONS.items():
        if name not in ("gateway", "worker"):
            assert f"| {name} | {connections} | 2 |" in operations
