"""Migrations take no long lock, and the previous release runs on the new schema."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASELINE = {"auth": "0008", "demo": "0005", "jobs": "0004"}
"""Migrations up to these were never applied to a database in use."""
MIGRATIONS = [
    path
    for path in sorted((ROOT / "services").glob("*/migrations/0*.py"))
    if path.name[:4] > BASELINE.get(path.parts[-3], "0000")
]

BLOCKING = {
    r"CREATE (UNIQUE )?INDEX (?!CONCURRENTLY)[^;]*? ON (?P<table>\w+)": "an index blocks writes: CREATE INDEX CONCURRENTLY",
    r"(DROP INDEX|REINDEX (TABLE|INDEX)) (?!CONCURRENTLY)": "an exclusive lock: DROP INDEX CONCURRENTLY",
    r"ALTER TABLE (?P<table>\w+)[^;]*?ADD (CONSTRAINT \w+ )?(CHECK|FOREIGN KEY)(?![^;]*NOT VALID)": (
        "a scan under an exclusive lock: NOT VALID, and VALIDATE CONSTRAINT in a later transaction"
    ),
    r"ALTER TABLE (?P<table>\w+)[^;]*?ADD (CONSTRAINT \w+ )?(UNIQUE|PRIMARY KEY)(?! USING INDEX)": (
        "an index under an exclusive lock: USING INDEX"
    ),
    r"ALTER TABLE (?P<table>\w+)[^;]*?SET NOT NULL": "a scan under an exclusive lock: a CHECK that is NOT VALID at first",
    r"ALTER TABLE (?P<table>\w+)[^;]*?ALTER COLUMN \w+ (SET DATA )?TYPE": "the table is rewritten: a new column",
    r"ALTER TABLE (?P<table>\w+)[^;]*?ADD COLUMN[^;]*?DEFAULT (gen_random_uuid|clock_timestamp|random|nextval)": (
        "the table is rewritten: a constant default"
    ),
    r"ALTER TABLE (?P<table>\w+)[^;]*?ADD COLUMN[^;]*?GENERATED ALWAYS AS[^;]*?STORED": "the table is rewritten",
    r"\b(UPDATE|DELETE FROM) (?P<table>\w+)\b": "rows of a whole table stay locked: a job or the reconciler in batches",
    r"VACUUM FULL|\bCLUSTER\b|LOCK TABLE": "an exclusive lock",
}
BREAKING = {
    r"ALTER TABLE (?P<table>\w+)[^;]*?(RENAME (COLUMN|TO)|DROP COLUMN)": "the previous release still uses the old name",
    r"ALTER TABLE (?P<table>\w+)[^;]*?ADD COLUMN (?![^;,]*DEFAULT)[^;,]*NOT NULL": "INSERTs of the previous release fail",
    r"DROP TABLE": "the previous release may still use the table",
}


def findings(source: str) -> list[str]:
    """Return what is wrong with a migration. Statements on tables that it creates itself lock nothing that is in use."""
    flat = " ".join(re.sub(r"--[^\n]*", "", source).split())
    created = set(re.findall(r"CREATE TABLE (\w+)", flat))
    return [
        f"{match[0][:80]}: {reason}"
        for pattern, reason in (BLOCKING | BREAKING).items()
        for match in re.finditer(pattern, flat)
        if match.groupdict().get("table") not in created
    ]


@pytest.mark.parametrize("path", MIGRATIONS, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_migration_takes_no_long_lock_and_suits_the_previous_release(path: Path) -> None:
    assert findings(path.read_text()) == []


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX jobs_x ON jobs (kind)",
        "CREATE UNIQUE INDEX jobs_x ON jobs (kind)",
        "DROP INDEX jobs_x",
        "ALTER TABLE jobs ADD CONSTRAINT x CHECK (priority < 5)",
        "ALTER TABLE jobs DROP CONSTRAINT x, ADD CONSTRAINT x CHECK (priority < 5)",
        "ALTER TABLE jobs ADD CONSTRAINT x UNIQUE (kind)",
        "ALTER TABLE jobs ALTER COLUMN kind SET NOT NULL",
        "ALTER TABLE jobs ALTER COLUMN kind TYPE varchar",
        "ALTER TABLE jobs ADD COLUMN x uuid DEFAULT gen_random_uuid()",
        "ALTER TABLE jobs ADD COLUMN x integer GENERATED ALWAYS AS (1) STORED",
        "UPDATE jobs SET ready = true",
        "ALTER TABLE jobs RENAME COLUMN turn TO fair_rank",
        "ALTER TABLE jobs DROP COLUMN turn",
        "ALTER TABLE jobs ADD COLUMN x integer NOT NULL",
        "DROP TABLE inbox",
    ],
)
def test_statements_that_lock_or_break_are_found(sql: str) -> None:
    assert findings(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX CONCURRENTLY jobs_x ON jobs (kind)",
        "DROP INDEX CONCURRENTLY IF EXISTS jobs_x",
        "ALTER TABLE jobs ADD CONSTRAINT x CHECK (priority < 5) NOT VALID; ALTER TABLE jobs VALIDATE CONSTRAINT x",
        "ALTER TABLE jobs ADD COLUMN x integer NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN x integer",
        "CREATE TABLE t (id uuid PRIMARY KEY); CREATE INDEX t_x ON t (id); ALTER TABLE t ADD CONSTRAINT c CHECK (true)",
    ],
)
def test_harmless_statements_are_not_found(sql: str) -> None:
    assert findings(sql) == []
