"""Demo mode as protobuf messages. Pure."""

from __future__ import annotations

from datetime import timedelta

from chassis import protobuf
from repruv.demo.v1 import demo_events_pb2, demo_pb2, demo_service_pb2
from repruv.jobs.v1 import job_pb2
from services.demo import dataset, domain, options, preview, read_models
from services.demo.domain import Mode

_STATES = protobuf.Enum(demo_pb2.DemoState.DESCRIPTOR, domain.State)


def demo_to_proto(mode: Mode) -> demo_pb2.Demo:
    chosen = mode.options
    return demo_pb2.Demo(
        owner_id=str(mode.owner_id),
        state=_STATES.to_proto(mode.state),
        generation=mode.generation,
        version=mode.version,
        job_id=str(mode.job_id or ""),
        job_kind=mode.job_kind or "",
        profile=None if mode.state is domain.State.DISABLED else profile_to_proto(dataset.profile(options.spec(mode))),
        error=job_pb2.JobError(code=mode.error.code, message=mode.error.message) if mode.error else None,
        stats=demo_pb2.DemoStats(
            content_count=chosen.content_count if chosen else 0,
            interaction_count=chosen.interaction_count if chosen else 0,
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
    """Return the event of the transition that led to `mode`."""
    return demo_events_pb2.DemoEvent(
        demo=demo_to_proto(mode), reason=action.value, occur_time=protobuf.to_timestamp(mode.changed_at)
    )


def expire_after_from_proto(request: demo_service_pb2.EnableDemoRequest) -> timedelta | None:
    """Read how long demo mode lasts; None: without an end. Raises `InvalidArgument` for a duration out of range."""
    has_expiry = request.HasField("expire_after")
    return protobuf.from_duration(request.expire_after, "expire_after") if has_expiry else None


def content_to_proto(item: read_models.Content) -> demo_pb2.ContentItem:
    return demo_pb2.ContentItem(
        content_id=read_models.content_id(item.generation, item.position),
        platform=item.platform,
        title=item.title,
        publish_time=protobuf.to_timestamp(item.published_at),
        views=item.views,
        likes=item.likes,
        interaction_count=item.interaction_count,
    )


def interaction_to_proto(row: read_models.Interaction) -> demo_pb2.Interaction:
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
        content_id=read_models.content_id(row.generation, row.content_position),
        content_title=row.content_title,
    )


def example_to_proto(example: preview.Example) -> demo_service_pb2.PreviewDemoResponse:
    """Convert an example; it has no ids and no times."""
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


def dashboard_to_proto(numbers: read_models.Dashboard, days: int) -> demo_service_pb2.GetDashboardResponse:
    """Convert the dashboard's numbers, with the last `days` days."""
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
            for day in numbers.interactions_per_day[-days:]
        ],
        compute_time=protobuf.to_timestamp(numbers.computed_at),
    )
