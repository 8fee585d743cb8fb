"""A job as bars over time: its waits, attempts, steps and children, and what happened between two attempts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway import durations, labels, views

WIDTH = 1_000.0
"""The length of the time axis, in units of the drawing."""
NARROWEST = 4.0
MAX_ATTEMPTS = 20
MAX_STEPS = 12
"""Steps shown of one attempt."""
MAX_CHILDREN = 20
STATE = "@state"
"""The name of a checkpoint that is the position of a loop and no step."""

_GAPS: Mapping[str, str] = {
    "crashed": "Waiting for another worker",
    "failed": "Waiting to retry",
    "released": "Waiting for another worker",
    "snoozed": "Postponed",
    "waiting": "Waiting for child jobs",
}
_OUTCOMES: Mapping[str, tuple[str, str]] = {
    "completed": ("good", "completed"),
    "failed": ("bad", "failed"),
    "cancelled": ("plain", "cancelled"),
    "released": ("plain", "handed back"),
    "snoozed": ("plain", "postponed"),
    "waiting": ("plain", "waited for child jobs"),
    "crashed": ("bad", "worker died"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A span of time, in units of the drawing."""

    x: float
    width: float
    tone: str
    """`good`, `bad`, `busy`, `on`, `plain`, or `wait` and `gap` for time in which nothing ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the waterfall: a label, a bar, its length, and a sentence about it."""

    kind: str
    """`wait`, `attempt`, `step` or `child`."""
    label: str
    bars: Sequence[Bar]
    begin: str | None
    seconds: float | None
    outcome: str = ""
    note: str = ""
    worker: str = ""
    href: str = ""
    tone: str = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waterfall:
    """The rows, and the time that the axis spans."""

    rows: Sequence[Row]
    seconds: float
    omitted: int
    """Earlier attempts that are not shown."""


class _Axis:
    """Maps times to the drawing."""

    def __init__(self, begin: datetime, end: datetime) -> None:
        self.begin = begin
        self.end = max(end, begin)
        self.seconds = max((self.end - begin).total_seconds(), 0.001)

    def bar(self, begin: str | None, end: str | None, tone: str) -> Bar:
        """Return the bar from one time to another; without an end it reaches to the end of the axis."""
        x = self._x(begin) if begin else 0.0
        to = self._x(end) if end else WIDTH
        width = max(to - x, NARROWEST)
        return Bar(x=round(min(x, WIDTH - width), 1), width=round(width, 1), tone=tone)

    def _x(self, at: str) -> float:
        position = (datetime.fromisoformat(at) - self.begin).total_seconds() / self.seconds * WIDTH
        return min(max(position, 0.0), WIDTH)


def build(job: views.Job, history: views.JobHistory, children: Sequence[views.Job]) -> Waterfall | None:
    """Return the waterfall of a job; None for one that is not stored yet."""
    if not job["created_at"]:
        return None
    now = datetime.now(UTC)
    end = datetime.fromisoformat(job["finished_at"]) if job["finished_at"] else now
    attempts = history["attempts"][-MAX_ATTEMPTS:]
    omitted = len(history["attempts"]) - len(attempts)
    begin = attempts[0]["started_at"] if omitted and attempts else job["created_at"]
    axis = _Axis(datetime.fromisoformat(begin or job["created_at"]), end)
    rows = [*_rows(job, history, attempts, axis, has_earlier=omitted > 0), *_children(children, axis)]
    return Waterfall(rows=rows, seconds=axis.seconds, omitted=omitted)


def _rows(
    job: views.Job, history: views.JobHistory, attempts: Sequence[views.Attempt], axis: _Axis, *, has_earlier: bool
) -> Iterator[Row]:
    if not has_earlier:
        first = attempts[0]["started_at"] if attempts else job["finished_at"]
        yield _wait("Queued", job["created_at"], first, axis)
    for position, attempt in enumerate(attempts):
        next_attempt = attempts[position + 1] if position + 1 < len(attempts) else None
        yield _attempt(job, attempt, next_attempt, axis)
        yield from _steps(history["checkpoints"], attempt, axis)
        outcome = attempt["outcome"] or ""
        ended_at = attempt["finished_at"]
        if outcome in _GAPS and ended_at and (next_attempt or not job["finished_at"]):
            yield _wait(_GAPS[outcome], ended_at, next_attempt["started_at"] if next_attempt else None, axis)
        elif next_attempt and ended_at:
            yield _wait("Queued again", ended_at, next_attempt["started_at"], axis)


def _wait(label: str, begin: str | None, end: str | None, axis: _Axis) -> Row:
    seconds = durations.between(begin, end or axis.end.isoformat())
    return Row(kind="wait", label=label, bars=[axis.bar(begin, end, "wait")], begin=begin, seconds=seconds)


def _attempt(job: views.Job, attempt: views.Attempt, next_attempt: views.Attempt | None, axis: _Axis) -> Row:
    outcome = attempt["outcome"]
    tone, words = _OUTCOMES.get(outcome or "", ("on", "cancelling" if job["status"] == "cancelling" else "running"))
    lost_at = attempt["lease_expired_at"]
    bars = [axis.bar(attempt["started_at"], lost_at or attempt["finished_at"], tone)]
    if lost_at:
        bars.append(axis.bar(lost_at, attempt["finished_at"], "gap"))
    return Row(
        kind="attempt",
        label=f"Attempt {attempt['attempt']}",
        bars=bars,
        begin=attempt["started_at"],
        seconds=durations.between(attempt["started_at"], attempt["finished_at"] or axis.end.isoformat()),
        outcome=words,
        note=_note(attempt, next_attempt),
        worker=attempt["worker"],
        tone=tone,
    )


def _note(attempt: views.Attempt, next_attempt: views.Attempt | None) -> str:
    """Return what an attempt left to the next: "killed at 41,200 of 100,000 → resumed at 41,200, 2.8 s later"."""
    outcome, reached = attempt["outcome"], attempt["reached"]
    at = ""
    if reached:
        at = f" at {reached['done']:,}" + (f" of {reached['total']:,}" if reached["total"] else "")
    if outcome == "crashed":
        note = f"Killed{at}"
    elif outcome in {"failed", "released", "snoozed"} and at:
        note = f"Stopped{at}"
    else:
        return ""
    if next_attempt is None:
        return note
    resumed = next_attempt["resumed_done"]
    where = f"resumed at {resumed:,}" if resumed is not None else "resumed"
    by = "" if next_attempt["worker"] == attempt["worker"] else " by another worker"
    gap = durations.between(attempt["lease_expired_at"] or attempt["finished_at"], next_attempt["started_at"])
    return f"{note} → {where}{by}, {durations.duration(gap)} later"


def _steps(checkpoints: Sequence[views.Checkpoint], attempt: views.Attempt, axis: _Axis) -> Iterator[Row]:
    saved = [checkpoint for checkpoint in checkpoints if checkpoint["attempt"] == attempt["attempt"]]
    for checkpoint in saved[-MAX_STEPS:]:
        end = checkpoint["saved_at"]
        seconds = checkpoint["duration_seconds"]
        begin = _seconds_before(end, seconds or 0.0)
        is_state = checkpoint["name"] == STATE
        yield Row(
            kind="step",
            label="Checkpoint" if is_state else checkpoint["name"],
            bars=[axis.bar(begin, end, "good")],
            begin=begin,
            seconds=seconds,
            note=f"Saved {checkpoint['value']}" if is_state and checkpoint["value"] else "",
        )


def _children(children: Sequence[views.Job], axis: _Axis) -> Iterator[Row]:
    for child in sorted(children, key=lambda child: child["created_at"] or "")[:MAX_CHILDREN]:
        status = child["status"]
        tone = {"completed": "good", "failed": "bad", "retrying": "busy", "cancelled": "plain"}.get(status, "on")
        began = child["started_at"]
        bars = [axis.bar(child["created_at"], began or child["finished_at"], "wait")]
        if began:
            bars.append(axis.bar(began, child["finished_at"], tone))
        yield Row(
            kind="child",
            label=labels.kind(child["kind"]),
            bars=bars,
            begin=child["created_at"],
            seconds=durations.between(began, child["finished_at"] or axis.end.isoformat()),
            outcome=labels.state(status).lower(),
            href=f"/jobs/{child['job_id']}",
            tone=tone,
        )


def _seconds_before(at: str | None, seconds: float) -> str | None:
    if at is None:
        return None
    moment = datetime.fromisoformat(at).timestamp() - seconds
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
