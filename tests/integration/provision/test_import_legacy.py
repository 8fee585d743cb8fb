"""The import of the old system's database: what it maps, and what it leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dev.embedded import EmbeddedServers
from provision.legacy import report
from tests.integration.provision import legacy_database
from tests.integration.provision.legacy_database import USERS, Old


@pytest.fixture(scope="module")
def imported(provisioned: EmbeddedServers) -> Iterator[tuple[Old, dict[str, Any]]]:
    """An old database that has been imported, and the report."""
    with legacy_database.generated(provisioned) as old:
        yield old, old.run()


@pytest.fixture
def old(imported: tuple[Old, dict[str, Any]]) -> Old:
    """The old database that has been imported."""
    return imported[0]


def test_import_maps_what_it_can_and_reports_the_rest(imported: tuple[Old, dict[str, Any]]) -> None:
    _, result = imported
    users, connections, jobs = (result["tables"][name] for name in ("users", "platform_connections", "background_jobs"))
    assert (users["imported"], users["left_out"]) == (USERS + 10, 4)
    assert {code: note["rows"] for code, note in users["notes"].items()} == {
        "email_taken": 1,
        "email_unusable": 3,
        "password_unusable": 2,
        "time_replaced": 3,
        "name_shortened": 1,
        "name_cleaned": 1,
        "demo_rebuilt": USERS // 4,
        "demo_stuck": 1,
        "demo_failed": 1,
        "demo_contradiction": 1,
        "demo_status_unknown": 1,
        "admin_not_granted": 1,
    }
    assert users["notes"]["email_taken"]["examples"] == ["1000001"]
    assert users["columns_not_imported"] == ["favourite_colour"]
    assert {code: note["rows"] for code, note in connections["notes"].items()} == {
        "connect_again": 8,
        "connection_stuck": 6,
        "owner_unknown": 2,
        "owner_left_out": 1,
        "connection_exists": 1,
        "platform_unusable": 1,
        "status_unknown": 1,
    }
    assert {code: note["rows"] for code, note in jobs["notes"].items()} == {
        "job_interrupted": USERS // 5 + 1,
        "owner_unknown": 1,
        "job_too_old": 1,
        "time_unusable": 2,
        "status_unknown": 1,
    }
    assert jobs["imported"] == USERS + 2
    assert result["tables_not_imported"] == ["invoices"]
    assert "user_sessions: 50 rows are left out" in "\n".join(result["remarks"])
    assert "favourite_colour" in report.text(result)


def test_users_become_accounts(old: Old) -> None:
    name, password_hash, role, created_at, verified_at, disabled_at, user_id = old.user("user1")
    assert (name, password_hash, role, disabled_at) == ("User 1", legacy_database.BCRYPT, "user", None)
    assert str(created_at) == "2023-01-01 00:01:00+00:00" == str(verified_at)
    assert user_id.version == 5
    assert old.user("broken-hash")[1].startswith("$argon2id$")
    assert old.user("future")[0] == "n" * 100
    assert old.user("infinity")[0] == "Bell and bidi"
    assert old.user("admin")[2] == "user"
    assert old.user("inactive")[5] is not None


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("user8", "enabling"),
        ("user4", "enabling"),
        ("user1", None),
        ("stuck", "failed"),
        ("failed", "failed"),
        ("contradiction", None),
        ("unknown", None),
    ],
)
def test_booleans_and_statuses_become_states(old: Old, name: str, state: str | None) -> None:
    rows = old.sql("SELECT state, error_code FROM demo.demo_modes WHERE owner_id = %s", old.user(name)[6])
    assert rows == ([(state, "legacy_interrupted" if state == "failed" else None)] if state else [])


def test_jobs_become_history(old: Old) -> None:
    counts = old.sql("SELECT state, count(*) FROM jobs.jobs WHERE kind = 'legacy.enable_demo' GROUP BY 1 ORDER BY 1")
    assert counts == [("cancelled", 8), ("completed", 16), ("failed", 16)]
    [(kind, started, finished)] = old.sql(
        "SELECT kind, started_at >= created_at, finished_at >= started_at FROM jobs.jobs WHERE kind LIKE 'legacy.weird%%'"
    )
    assert (kind, started, finished) == ("legacy.weird_type_", True, True)
    assert old.sql("SELECT count(*) FROM jobs.jobs WHERE kind LIKE 'legacy.%%' AND finished_at IS NULL") == [(0,)]
    assert old.sql("SELECT DISTINCT retention::text FROM jobs.kinds WHERE kind LIKE 'legacy.%%'") == [("365 days",)]
