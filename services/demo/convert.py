"""Demo mode as messages, and jobs' messages as news. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from google.protobuf import struct_pb2

from chassis import errors, protobuf
from repruv.demo.v1 import demo_events_pb2, demo_pb2, demo_service_pb2
from repruv.jobs.v1 import job_pb2, jobs_service_pb2
from services.demo import dataset, domain, listing, preview, wishes
from services.demo.domain import JobPhase, Mode

MAX_ATTEMPTS = 3
BACKOFF = timedelta(seconds=0.5)
MAX_BACKOFF = timedelta(seconds=5)
ATTEMPT_TIMEOUT = timedelta(minutes=10)

_PHASES = {
    job_pb2.JOB_STATE_SCHEDULED: JobPhase.WAITING,
    job_pb2.JOB_STATE_PENDING: JobPhase.WAITING,
    job_pb2.JOB_STATE_RETRYING: JobPhase.WAITING,
    job_pb2.JOB_STATE_RUNNING: JobPhase.HELD,
    job_pb2.JOB_STATE_CANCELLING: JobPhase.HELD,
    job_pb2.JOB_STATE_COMPLETED: JobPhase.COMPLETED,
    job_pb2.JOB_STATE_FAILED: JobPhase.FAILED,
    job_pb2.JOB_STATE_CANCELLED: JobPhase.CANCELLED,
}


def demo_to_proto(mode: Mode) -> demo_pb2.Demo:
    """Write a snapshot."""
    wish = mode.wish
    return demo_pb2.Demo(
        owner_id=str(mode.owner_id),
        state=demo_pb2.DemoState.Value(f"DEMO_STATE_{mode.state.upper()}"),
        generation=mode.generation,
        version=mode.version,
        job_id=str(mode.job_id or ""),
        job_kind=mode.job_kind or "",
        profile=None if mode.state is domain.State.DISABLED else profile_to_proto(dataset.profile(wishes.spec(mode))),
        error=job_pb2.JobError(code=mode.error.code, message=mode.error.message) if mode.error else None,
        stats=demo_pb2.DemoStats(
            content_count=wish.content_count if wish else 0,
            interaction_count=wish.interaction_count if wish else 0,
            content_written=mode.content_written,
            interactions_written=mode.interactions_written,
            content_removed=mode.content_removed,
            interactions_removed=mode.interactions_removed,
        ),
        enable_time=protobuf.to_timestamp(mode.enabled_at),
        expire_time=protobuf.to_timestamp(mode.expires_at),
        change_time=protobuf.to_timestamp(mode.changed_at),
    )


def profile_to_proto(profile: dataset.Profile) -> demo_pb2.DemoProfile:
    """Write a profile."""
    return demo_pb2.DemoProfile(
        profile_type=profile.profile_type,
        niche=profile.niche,
        name=profile.name,
        handle=f"@{profile.handle}",
        tagline=profile.tagline,
        avatar=profile.avatar,
        platforms=profile.platforms,
    )


def event_to_proto(mode: Mode, action: domain.Action) -> demo_events_pb2.DemoEvent:
    """Write the event of a transition that led to `mode`."""
    return demo_events_pb2.DemoEvent(
        demo=demo_to_proto(mode), reason=action.value, occur_time=protobuf.to_timestamp(mode.changed_at)
    )


def expire_after_from_proto(request: demo_service_pb2.EnableDemoRequest) -> timedelta | None:
    """Read how long demo mode is to last; None: for ever. Raises `InvalidArgument` for what no clock can count."""
    if not request.HasField("expire_after"):
        return None
    try:
        return request.expire_after.ToTimedelta()
    except (OverflowError, ValueError):
        raise errors.InvalidArgument("expire_after must be a duration.", field="expire_after") from None


def submit_to_proto(mode: Mode) -> jobs_service_pb2.SubmitJobRequest:
    """Write the submit of the mode's present job; always the same for the same generation, so it may be repeated."""
    if mode.job_id is None or mode.job_kind is None:
        raise errors.Internal("Demo mode never had a job.")
    payload = struct_pb2.Struct()
    payload.update({"generation": mode.generation})
    spec = job_pb2.JobSpec(
        kind=mode.job_kind,
        owner_id=str(mode.owner_id),
        payload=payload,
        max_attempts=MAX_ATTEMPTS,
        backoff=protobuf.to_duration(BACKOFF),
        max_backoff=protobuf.to_duration(MAX_BACKOFF),
        attempt_timeout=protobuf.to_duration(ATTEMPT_TIMEOUT),
        # One job of an owner at a time: the next one begins when this one has told how it ended.
        concurrency_key=str(mode.owner_id),
    )
    return jobs_service_pb2.SubmitJobRequest(job_id=str(mode.job_id), spec=spec)


def news_from_proto(job: job_pb2.Job) -> domain.JobNews | None:
    """Read what a job's snapshot means to demo mode; None for a job that is none of ours. Raises ValueError if broken."""
    if job.spec.kind not in set(domain.JobKind) or job.state not in _PHASES:
        return None
    return domain.JobNews(
        job_id=UUID(job.job_id),
        owner_id=UUID(job.spec.owner_id),
        generation=generation(dict(job.spec.payload)),
        phase=_PHASES[job.state],
        attempt=job.attempt,
        version=job.version,
        error=domain.Error(code=job.error.code, message=job.error.message) if job.error.code else None,
    )


def generation(payload: dict[str, Any]) -> int:
    """Read the generation out of a job's payload. Raises ValueError if there is none."""
    try:
        return int(payload["generation"])
    except (KeyError, TypeError):
        raise ValueError(f"not the payload of a demo job: {payload!r}") from None


def content_to_proto(item: listing.Content) -> demo_pb2.ContentItem:
    """Write a content item."""
    return demo_pb2.ContentItem(
        content_id=listing.content_id(item.generation, item.position),
        platform=item.platform,
        title=item.title,
        publish_time=protobuf.to_timestamp(item.published_at),
        views=item.views,
        likes=item.likes,
        interaction_count=item.interaction_count,
    )


def interaction_to_proto(row: listing.Interaction) -> demo_pb2.Interaction:
    """Write an interaction."""
    return demo_pb2.Interaction(
        interaction_id=f"i-{row.generation}-{row.position}",
        kind=row.kind,
        platform=row.platform,
        author_name=row.author_name,
        author_handle=f"@{row.author_handle}",
        text=row.text,
        rating=row.rating,
        sentiment=row.sentiment,
        replied=row.replied,
        reply_text=row.reply_text or "",
        needs_reply=row.sentiment == "negative" and not row.replied,
        likes=row.likes,
        occur_time=protobuf.to_timestamp(row.occurred_at),
        content_id=listing.content_id(row.generation, row.content_position),
        content_title=row.content_title,
    )


def example_to_proto(example: preview.Example) -> demo_service_pb2.PreviewDemoResponse:
    """Write an example; it has no ids and no times."""
    titles = [item.title for item in example.content]
    return demo_service_pb2.PreviewDemoResponse(
        profile=profile_to_proto(example.profile),
        content=[
            demo_pb2.ContentItem(platform=item.platform, title=item.title, views=item.views, likes=item.likes)
            for item in example.content
        ],
        interactions=[
            demo_pb2.Interaction(
                kind=row.kind,
                platform=row.platform,
                author_name=row.author_name,
                author_handle=f"@{row.author_handle}",
                text=row.text,
                rating=row.rating,
                sentiment=row.sentiment,
                content_title=titles[row.content_position] if row.content_position < len(titles) else "",
            )
            for row in example.interactions
        ],
    )


def dashboard_to_proto(numbers: listing.Dashboard) -> demo_service_pb2.GetDashboardResponse:
    """Write the dashboard's numbers."""
    return demo_service_pb2.GetDashboardResponse(
        demo=numbers.is_demo,
        content_count=numbers.content_count,
        interaction_count=numbers.interaction_count,
        average_rating=numbers.average_rating,
        rating_counts=numbers.rating_counts,
        response_rate=numbers.response_rate,
        needs_reply_count=numbers.needs_reply_count,
        sentiment_counts=numbers.sentiment_counts,
        views=numbers.views,
        likes=numbers.likes,
        interactions_per_day=[
            demo_service_pb2.DayCount(date=day.date.isoformat(), count=day.count, sentiment_counts=day.sentiment_counts)
            for day in numbers.interactions_per_day
        ],
        compute_time=protobuf.to_timestamp(numbers.computed_at),
    )
