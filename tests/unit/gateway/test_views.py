"""Protobuf to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import TypeAdapter

from gateway import views
from repruv.auth.v1 import auth_pb2, auth_service_pb2, connection_pb2, security_event_pb2
from repruv.demo.v1 import demo_pb2, demo_service_pb2
from repruv.jobs.v1 import job_pb2, jobs_service_pb2


def at(text: str) -> Timestamp:
    moment = Timestamp()
    moment.FromDatetime(datetime.fromisoformat(text).replace(tzinfo=UTC))
    return moment


def job(state: job_pb2.JobState.ValueType = job_pb2.JOB_STATE_RUNNING, **fields: object) -> job_pb2.Job:
    snapshot = job_pb2.Job(job_id="j", state=state, version=3, spec=job_pb2.JobSpec(kind="demo.enable"))
    snapshot.MergeFrom(job_pb2.Job(**fields))  # type: ignore[arg-type]
    return snapshot


def demo(state: demo_pb2.DemoState.ValueType, **fields: object) -> demo_pb2.Demo:
    snapshot = demo_pb2.Demo(state=state, version=2, job_id="j")
    snapshot.MergeFrom(demo_pb2.Demo(**fields))  # type: ignore[arg-type]
    return snapshot


def test_job_view_has_all_fields() -> None:
    snapshot = job(
        job_pb2.JOB_STATE_COMPLETED,
        attempt=1,
        max_attempts=3,
        progress=job_pb2.JobProgress(done=5, total=10, message="Almost"),
        create_time=at("2026-11-23T09:30:00"),
        start_time=at("2026-11-23T09:30:01"),
        finish_time=at("2026-11-23T09:30:03.250"),
    )
    snapshot.result.update({"content": 60, "share": 0.5, "nested": {"list": [1, "two", None]}})
    assert views.job(snapshot) == {
        "job_id": "j",
        "kind": "demo.enable",
        "status": "completed",
        "progress": {"done": 5, "total": 10, "percent": 100, "message": "Almost"},
        "attempt": 1,
        "max_attempts": 3,
        "errors": 0,
        "created_at": "2026-11-23T09:30:00.000Z",
        "started_at": "2026-11-23T09:30:01.000Z",
        "finished_at": "2026-11-23T09:30:03.250Z",
        "duration_seconds": 2.25,
        "estimated_finish_at": None,
        "next_run_at": None,
        "on_hold": False,
        "deadline_at": None,
        "parent_id": None,
        "children": None,
        "result": {"content": 60, "share": 0.5, "nested": {"list": [1, "two", None]}},
        "error": None,
        "cancel_reason": None,
        "cancellable": False,
        "retryable": False,
        "version": 3,
    }


def test_job_view_has_the_reason_and_end_of_a_wait() -> None:
    view: dict[str, object] = dict(
        views.job(
            job(
                spec=job_pb2.JobSpec(parent_id="p"),
                errors=2,
                progress=job_pb2.JobProgress(estimate_time=at("2026-11-23T09:31:00")),
                next_run_time=at("2026-11-23T09:32:00"),
                deadline=at("2026-11-23T09:33:00"),
                children=job_pb2.JobChildren(total=3, ended=2, unsuccessful=1),
            )
        )
    )
    names = ("errors", "estimated_finish_at", "next_run_at", "deadline_at", "parent_id", "children")
    assert [view[name] for name in names] == [
        2,
        "2026-11-23T09:31:00.000Z",
        "2026-11-23T09:32:00.000Z",
        "2026-11-23T09:33:00.000Z",
        "p",
        {"total": 3, "ended": 2, "unsuccessful": 1},
    ]


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (job_pb2.JOB_STATE_COMPLETED, None, "The work is done."),
        (job_pb2.JOB_STATE_FAILED, job_pb2.JobError(code="c", message="The mailbox is full."), "The mailbox is full."),
        (job_pb2.JOB_STATE_CANCELLED, job_pb2.JobError(code="c", message="Earlier."), "The work was cancelled."),
    ],
)
def test_notification_has_the_outcome(
    state: job_pb2.JobState.ValueType, error: job_pb2.JobError | None, message: str
) -> None:
    view = views.notification(job(state, error=error))
    assert (view["message"], view["notification_id"], view["read"]) == (message, "j", False)


@pytest.mark.parametrize(
    ("done", "total", "percent"),
    [(0, 0, 0), (5, 0, 0), (0, 3, 0), (1, 3, 33), (2, 3, 66), (299, 300, 99), (3, 3, 100), (4, 3, 100), (-1, 3, 0)],
)
def test_progress_is_at_most_a_hundred(done: int, total: int, percent: int) -> None:
    assert views.progress(job(progress=job_pb2.JobProgress(done=done, total=total)))["percent"] == percent


@pytest.mark.parametrize(
    ("state", "reason", "cancellable", "retryable"),
    [
        (job_pb2.JOB_STATE_SCHEDULED, "", True, False),
        (job_pb2.JOB_STATE_PENDING, "", True, False),
        (job_pb2.JOB_STATE_RUNNING, "", True, False),
        (job_pb2.JOB_STATE_RETRYING, "", True, False),
        (job_pb2.JOB_STATE_CANCELLING, "requested", False, False),
        (job_pb2.JOB_STATE_COMPLETED, "", False, False),
        (job_pb2.JOB_STATE_FAILED, "", False, True),
        (job_pb2.JOB_STATE_CANCELLED, "requested", False, True),
        (job_pb2.JOB_STATE_CANCELLED, "superseded", False, False),
    ],
)
def test_job_actions_by_state(
    state: job_pb2.JobState.ValueType, reason: str, cancellable: bool, retryable: bool
) -> None:
    view = views.job(job(state, cancel_reason=reason))
    assert (view["cancellable"], view["retryable"]) == (cancellable, retryable)


@pytest.mark.parametrize(
    ("state", "mover", "job_status"),
    [
        (demo_pb2.DEMO_STATE_ENABLING, job(), "running"),
        (demo_pb2.DEMO_STATE_ENABLING, None, "pending"),
        (demo_pb2.DEMO_STATE_ENABLING, job(job_id="another"), "pending"),
        (demo_pb2.DEMO_STATE_DISABLING, job(job_pb2.JOB_STATE_RETRYING), "retrying"),
        (demo_pb2.DEMO_STATE_FAILED, job(job_pb2.JOB_STATE_FAILED), "failed"),
        (demo_pb2.DEMO_STATE_FAILED, None, None),
        # A stream still knows the job; GET does not ask for it. They must agree.
        (demo_pb2.DEMO_STATE_ENABLED, job(job_pb2.JOB_STATE_COMPLETED), None),
        (demo_pb2.DEMO_STATE_DISABLED, None, None),
    ],
)
def test_demo_view_has_its_current_job(
    state: demo_pb2.DemoState.ValueType, mover: job_pb2.Job | None, job_status: str | None
) -> None:
    view = views.demo_status(demo(state), mover)
    assert view["job_status"] == job_status
    assert (view["progress"] is None) == (mover is None or job_status in {None, "pending"})


@pytest.mark.parametrize(
    ("interactions", "content", "words"),
    [(4213, 120, "4,213 interactions, 120 content items"), (1, 1, "1 interaction, 1 content item")],
)
def test_demo_view_has_the_cleanup_counts(interactions: int, content: int, words: str) -> None:
    removed = demo_pb2.DemoStats(interactions_removed=interactions, content_removed=content)
    view = views.demo_status(demo(demo_pb2.DEMO_STATE_DISABLED, stats=removed), None)
    assert view["message"] == f"Demo mode is disabled: {words} removed."


@pytest.mark.parametrize(
    ("demo_mode", "path"),
    [
        (None, "/dashboard"),
        (demo(demo_pb2.DEMO_STATE_DISABLED), "/settings/demo-mode"),
        (demo(demo_pb2.DEMO_STATE_ENABLING), "/dashboard"),
        (demo(demo_pb2.DEMO_STATE_ENABLED), "/dashboard"),
        (demo(demo_pb2.DEMO_STATE_FAILED), "/dashboard"),
    ],
)
def test_landing_page_after_sign_in(demo_mode: demo_pb2.Demo | None, path: str) -> None:
    user = auth_pb2.User(user_id="u", email="a@b", role=auth_pb2.USER_ROLE_ADMIN, can_access_dashboard=True)
    assert views.me(user, demo_mode)["redirect_path"] == path
    user.can_access_dashboard = False
    assert views.me(user, demo_mode)["redirect_path"] == "/settings/security"


def test_views_match_the_documented_schemas() -> None:
    moment = at("2026-11-23T09:30:00")
    user = auth_pb2.User(user_id="u", email="a@b", role=auth_pb2.USER_ROLE_USER, create_time=moment)
    login = auth_pb2.Session(session_id="s", absolute_expire_time=moment)
    error = job_pb2.JobError(code="c", message="m")
    failed = demo(demo_pb2.DEMO_STATE_FAILED, error=error, profile=demo_pb2.DemoProfile(platforms=["x"]))
    history = jobs_service_pb2.GetJobHistoryResponse(
        attempts=[job_pb2.Attempt(attempt=1, outcome="failed", error=error)],
        transitions=[job_pb2.Transition(sequence=1, state=job_pb2.JOB_STATE_PENDING, reason="submitted")],
    )
    interaction = demo_pb2.Interaction(interaction_id="i", kind="review", rating=5, sentiment="positive")
    numbers = demo_service_pb2.GetDashboardResponse(
        rating_counts={5: 2},
        sentiment_counts={"positive": 2},
        interactions_per_day=[demo_service_pb2.DayCount(date="2026-11-23", count=2)],
    )
    event = security_event_pb2.SecurityEvent(event_id="e", kind="connected", details={"platform": "youtube"})
    connected = connection_pb2.Connection(
        platform="youtube",
        state=connection_pb2.CONNECTION_STATE_FAILED,
        account=connection_pb2.Connection.Account(external_id="a"),
        error=connection_pb2.ConnectionError(code="access_denied", message="m"),
    )
    documented: list[tuple[type, Mapping[str, object]]] = [
        (views.User, views.user(user)),
        (views.Me, views.me(user, None)),
        (views.Session, views.session(login, current_id="s")),
        (views.Security, views.security(auth_service_pb2.GetSecurityResponse(user=user, events=[event]))),
        (views.Connection, views.connection(connected)),
        (views.Job, views.job(job())),
        (views.Jobs, views.jobs(jobs_service_pb2.ListJobsResponse(jobs=[job()]))),
        (
            views.Notifications,
            views.notifications(
                jobs_service_pb2.ListNotificationsResponse(jobs=[job(job_pb2.JOB_STATE_FAILED, error=error)])
            ),
        ),
        (views.JobHistory, views.job_history("j", history)),
        (views.DemoStatus, views.demo_status(failed, job())),
        (views.DemoAccepted, views.demo_accepted(failed, "j")),
        (
            views.Content,
            views.content(demo_service_pb2.ListContentResponse(content=[demo_pb2.ContentItem()])),
        ),
        (
            views.Interactions,
            views.interactions(demo_service_pb2.ListInteractionsResponse(interactions=[interaction])),
        ),
        (views.Dashboard, views.dashboard(numbers)),
    ]
    for model, view in documented:
        assert TypeAdapter(model).validate_python(view, strict=True, extra="forbid") == view
