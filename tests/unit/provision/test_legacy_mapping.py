"""Rows of the old system as rows of ours."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chassis import ids
from provision.legacy import mapping, report

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
OWNER = uuid.UUID(int=7)


def user(**columns: Any) -> mapping.Mapped:
    return mapping.user({"id": 1, "email": "ada@example.org", "created_at": "2024-01-01", **columns}, NOW)


def job(**columns: Any) -> mapping.Mapped:
    row = {"id": 1, "type": "seed", "status": "completed", "created_at": "2026-04-30 10:00:00.12+00", **columns}
    return mapping.job(row, OWNER, NOW)


@pytest.mark.parametrize(
    "email", [None, "", "ada", "ada@", "\x00@example.org", "a" * 300 + "@example.org", "é@example.org"]
)
def test_user_without_usable_address_is_left_out(email: str | None) -> None:
    assert user(email=email) == mapping.Mapped(None, ["email_unusable"])


def test_nul_and_control_characters_are_removed_from_names() -> None:
    mapped = user(name="A\x00da\u202e\ud800 ", password="x")
    assert mapped.values is not None
    assert mapped.values["name"] == "Ada"
    assert mapped.notes == ["name_cleaned", "password_unusable"]


@pytest.mark.parametrize("created_at", [None, "", "infinity", "0044-03-15 BC", "1970-01-01", "2199-01-01", "yesterday"])
def test_impossible_time_is_replaced(created_at: str | None) -> None:
    mapped = user(created_at=created_at)
    assert mapped.values is not None
    assert mapped.values["created_at"] == NOW
    assert "time_replaced" in mapped.notes


@pytest.mark.parametrize(
    ("columns", "state"),
    [
        ({"demo_mode": True}, "enabling"),
        ({"demo_mode": 1}, "enabling"),
        ({"demo_mode": "f"}, None),
        ({"demo_mode": None}, None),
        ({}, None),
        ({"demo_mode": False, "demo_mode_status": "ENABLED"}, "enabling"),
        ({"demo_mode": True, "demo_mode_status": "enabling"}, "failed"),
        ({"demo_mode": True, "demo_mode_status": "disabling"}, None),
    ],
)
def test_state_of_demo_mode(columns: dict[str, Any], state: str | None) -> None:
    demo = user(**columns).demo
    assert (demo["state"] if demo else None) == state


def test_unverified_address_stays_unverified_where_the_old_system_knows() -> None:
    for columns, verified in (({}, True), ({"is_verified": True}, True), ({"is_verified": None}, False)):
        mapped = user(**columns)
        assert mapped.values is not None
        assert (mapped.values["email_verified_at"] is not None) is verified


def test_ids_are_deterministic() -> None:
    stored = uuid.uuid4()
    assert mapping.user_id_of(5) == mapping.user_id_of("5") != mapping.user_id_of(6)
    assert mapping.user_id_of(stored) == mapping.user_id_of(str(stored)) == stored


def test_job_id_has_the_time_of_the_job() -> None:
    first, second = job().values, job().values
    assert first is not None
    assert second is not None
    assert first["job_id"] == second["job_id"]
    assert ids.timestamp_of(first["job_id"]) == datetime(2026, 4, 30, 10, 0, 0, 120_000, tzinfo=UTC)


def test_times_of_a_job_are_in_order() -> None:
    values = job(started_at="2020-01-01", finished_at="2199-01-01").values
    assert values is not None
    assert values["created_at"] == values["started_at"] == values["finished_at"]


def test_job_older_than_the_history_is_left_out() -> None:
    past = (NOW - mapping.HISTORY_AGE - timedelta(days=1)).isoformat()
    assert job(created_at=past) == mapping.Mapped(None, ["job_too_old"])


def test_kind_of_a_job_is_a_legal_name() -> None:
    for stored, kind in (
        ("Séed users!", "legacy.s_ed_users_"),
        (None, "legacy.job"),
        ("x" * 500, "legacy." + "x" * 73),
    ):
        values = job(type=stored).values
        assert values is not None
        assert values["kind"] == kind


def test_every_note_has_a_meaning() -> None:
    for note in (*user(is_admin=True, demo_mode=True).notes, *job(status="running").notes):
        assert note in report.MEANINGS
