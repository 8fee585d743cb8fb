"""A job as bars over time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.pages import waterfall

BEGIN = datetime(2026, 11, 14, 9, 30, tzinfo=UTC)


def after(seconds: float) -> str:
    """Return a time."""
    return (BEGIN + timedelta(seconds=seconds)).isoformat()


def job(**changed: Any) -> Any:
    """Return a job of ten seconds."""
    return {"created_at": after(0), "finished_at": after(10), "status": "completed", **changed}


def attempt(number: int, begin: float, end: float | None, outcome: str | None, **changed: Any) -> Any:
    """Return an attempt."""
    return {
        "attempt": number,
        "worker": f"w-{number}",
        "started_at": after(begin),
        "finished_at": None if end is None else after(end),
        "outcome": outcome,
        "reached": None,
        "resumed_done": None,
        "lease_expired_at": None,
        **changed,
    }


def history(*attempts: Any, checkpoints: Any = ()) -> Any:
    """Return a history."""
    return {"attempts": list(attempts), "checkpoints": list(checkpoints)}


def rows(*arguments: Any) -> list[waterfall.Row]:
    """Return the rows of a waterfall."""
    built = waterfall.build(*arguments)
    assert built is not None
    return list(built.rows)


def test_killed_attempt_names_where_the_next_one_resumed() -> None:
    crashed = attempt(
        1, 1, 4, "crashed", reached={"done": 41_200, "total": 100_000}, lease_expired_at=after(3.5), resumed_done=None
    )
    bars = rows(job(), history(crashed, attempt(2, 6, 10, "completed", resumed_done=41_200)), [])
    assert [row.label for row in bars] == ["Queued", "Attempt 1", "Waiting for another worker", "Attempt 2"]
    assert bars[1].note == "Killed at 41,200 of 100,000 → resumed at 41,200 by another worker, 2.5 s later"
    assert [bar.tone for bar in bars[1].bars] == ["bad", "gap"]
    assert [(bar.x, bar.width) for bar in bars[3].bars] == [(600.0, 400.0)]
    assert [row.seconds for row in bars] == [1.0, 3.0, 2.0, 4.0]


def test_steps_and_children_have_bars_of_their_own() -> None:
    step = {"name": "fetch", "attempt": 1, "saved_at": after(3), "duration_seconds": 2.0, "value": None}
    state = {"name": "@state", "attempt": 1, "saved_at": after(9), "duration_seconds": None, "value": "41200"}
    child = {
        "job_id": "c",
        "kind": "demo.page",
        "status": "failed",
        "created_at": after(4),
        "started_at": after(5),
        "finished_at": after(8),
    }
    bars = rows(job(), history(attempt(1, 0, 10, "completed"), checkpoints=[step, state]), [child])
    by_label = {row.label: row for row in bars}
    assert (by_label["fetch"].bars[0].x, by_label["fetch"].bars[0].width) == (100.0, 200.0)
    assert by_label["Checkpoint"].note == "Saved 41200"
    assert (by_label["Page (demo)"].href, by_label["Page (demo)"].outcome) == ("/jobs/c", "failed")
    assert [bar.tone for bar in by_label["Page (demo)"].bars] == ["wait", "bad"]


def test_axis_ends_now_for_a_job_that_runs_and_bars_stay_on_it() -> None:
    moving = job(created_at=datetime.now(UTC).isoformat(), finished_at=None, status="running")
    late = attempt(1, 0, None, None) | {"started_at": (datetime.now(UTC) + timedelta(seconds=5)).isoformat()}
    (queued, running) = rows(moving, history(late), [])
    for row in (queued, running):
        assert all(bar.x >= 0 and bar.x + bar.width <= waterfall.WIDTH for bar in row.bars)
    assert running.outcome == "running"


def test_only_the_newest_attempts_are_shown() -> None:
    many = [attempt(number, number / 10, number / 10 + 0.05, "snoozed") for number in range(1, 51)]
    built = waterfall.build(job(), history(*many), [])
    assert built is not None
    assert built.omitted == 50 - waterfall.MAX_ATTEMPTS
    assert built.rows[0].label == "Attempt 31"


def test_job_that_is_not_stored_yet_has_no_waterfall() -> None:
    assert waterfall.build(job(created_at=None), history(), []) is None
