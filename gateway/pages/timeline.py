"""The timeline of a job: attempts and transitions as one list of entries, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway import durations, views

_TITLES: Mapping[str, str] = {
    "submitted": "Submitted",
    "due": "Due",
    "claimed": "Attempt {attempt} started",
    "completed": "Completed",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "cancel_requested": "Cancellation requested",
    "parent_ended": "Cancelled with its parent",
    "attempt_failed": "Attempt {attempt} failed",
    "lease_expired": "Attempt {attempt} lost its worker",
    "deadline_exceeded": "Ran out of time",
    "released": "Attempt {attempt} was handed back",
    "snoozed": "Postponed",
    "waiting": "Waiting for child jobs",
    "retried": "Retry requested",
    "put_on_hold": "Put on hold",
    "released_from_hold": "Released from hold",
}
_EXPLANATIONS: Mapping[str, str] = {
    "lease_expired": "Its worker stopped responding. Another one takes over.",
    "released": "Its worker was shut down. Another one takes over.",
    "deadline_exceeded": "It did not finish by its deadline.",
    "attempt_failed": "It will be retried.",
}
_LATER = frozenset({"retried", "due", "put_on_hold", "released_from_hold"})
"""Reasons of transitions between two attempts."""
_TONES = {"completed": "good", "failed": "bad", "cancelled": "plain", "retrying": "busy", "running": "on"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    title: str
    at: str | None
    tone: str
    """`good`, `bad`, `busy`, `on` or `plain`."""
    detail: str
    code: str
    """The error's code; may be empty."""
    worker: str
    """The worker that started the attempt; empty for other entries."""
    seconds: float | None
    """The duration of the attempt that this transition ended."""


def entries(history: views.JobHistory) -> list[Entry]:
    """Return the entries of a job's history, oldest first."""
    attempts = {attempt["attempt"]: attempt for attempt in history["attempts"]}
    return [_entry(transition, attempts.get(transition["attempt"])) for transition in history["transitions"]]


def _entry(transition: views.Transition, attempt: views.Attempt | None) -> Entry:
    reason, status = transition["reason"], transition["status"]
    began = reason == "claimed"
    is_end = attempt is not None and not began and attempt["finished_at"] is not None and _ended_so(transition, attempt)
    error = attempt["error"] if attempt and is_end else None
    return Entry(
        title=_title(transition),
        at=transition["occurred_at"],
        tone=_TONES.get(status, "plain"),
        detail=_detail(reason, status, error),
        code=error["code"] if error else "",
        worker=attempt["worker"] if attempt and began else "",
        seconds=durations.between(attempt["started_at"], attempt["finished_at"]) if attempt and is_end else None,
    )


def _title(transition: views.Transition) -> str:
    reason, status = transition["reason"], transition["status"]
    if reason == "submitted" and status == "scheduled":
        return "Scheduled"
    if reason == "cancel_requested" and status == "cancelled":
        return "Cancelled before it started" if not transition["attempt"] else "Cancelled"
    title: str = _TITLES.get(reason, reason.replace("_", " ").capitalize())
    return title.format(attempt=transition["attempt"])


def _detail(reason: str, status: str, error: views.ErrorInfo | None) -> str:
    explanation = _EXPLANATIONS.get(reason, "")
    if reason == "lease_expired" and status in views.FINISHED:
        explanation = "Its worker stopped responding."
    message = error["message"] if error else ""
    return f"{message} {explanation}".strip()


def _ended_so(transition: views.Transition, attempt: views.Attempt) -> bool:
    """Whether a transition is the end of its attempt: what comes later, as a retry, only names the latest attempt."""
    gap = durations.between(attempt["finished_at"], transition["occurred_at"])
    return gap is not None and abs(gap) < 1 and transition["reason"] not in _LATER
