from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway import durations, labels
from gateway.pages import timeline

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def after(**span: float) -> str:
    return (NOW + timedelta(**span)).isoformat()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "less than 0.1 s"),
        (0.42, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3_600, "1 h"),
        (7_500, "2 h 5 min"),
        (90_000, "1 d 1 h"),
        (-3, "less than 0.1 s"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert durations.duration(seconds) == text


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (None, ""),
        (after(seconds=-5), "a few seconds left"),
        (after(seconds=21), "about 25 s left"),
        (after(seconds=61), "about 2 min left"),
        (after(minutes=61), "about 2 h left"),
    ],
)
def test_time_left(end: str | None, text: str) -> None:
    assert durations.left(end, NOW) == text


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (None, "–"),
        (after(seconds=-60), "any moment"),
        (after(seconds=30), "in less than a minute"),
        (after(seconds=60), "in 1 minute"),
        (after(hours=5), "in 5 hours"),
        (after(days=30), "in 30 days"),
    ],
)
def test_time_ahead(moment: str | None, text: str) -> None:
    assert durations.until(moment, NOW) == text


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("demo.enable", "Enable demo mode"),
        ("demo.enable.undo", "Undo: Enable demo mode"),
        ("mail.send_digest", "Send digest (mail)"),
        ("tidy", "Tidy"),
    ],
)
def test_kinds_have_names(kind: str, text: str) -> None:
    assert labels.kind(kind) == text


def test_history_of_a_rescued_job_is_in_order() -> None:
    def transition(reason: str, status: str, attempt: int, at: int) -> Any:
        return {"reason": reason, "status": status, "attempt": attempt, "occurred_at": after(seconds=at)}

    attempts: Any = [
        {"attempt": 1, "worker": "w-1", "started_at": after(), "finished_at": after(seconds=9), "error": None},
        {"attempt": 2, "worker": "w-2", "started_at": after(seconds=10), "finished_at": None, "error": None},
    ]
    transitions = [
        transition("submitted", "pending", 0, 0),
        transition("claimed", "running", 1, 0),
        transition("lease_expired", "retrying", 1, 9),
        transition("claimed", "running", 2, 10),
        transition("something_new", "running", 2, 11),
    ]
    history: Any = {"job_id": "j", "attempts": attempts, "transitions": transitions, "checkpoints": []}
    shown_entries = timeline.entries(history)
    assert [entry.title for entry in shown_entries] == [
        "Submitted",
        "Attempt 1 started",
        "Attempt 1 lost its worker",
        "Attempt 2 started",
        "Something new",
    ]
    assert [entry.worker for entry in shown_entries] == ["", "w-1", "", "w-2", ""]
    assert [entry.seconds for entry in shown_entries] == [None, None, 9.0, None, None]
    assert "Another one takes over" in shown_entries[2].detail
