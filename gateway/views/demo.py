"""Demo mode and what it shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.views import times
from gateway.views.job_snapshots import job_state, progress
from gateway.views.times import Json
from repruv.demo.v1 import demo_pb2, demo_service_pb2
from repruv.jobs.v1 import job_pb2

DEMO_STATES = {value: name.removeprefix("DEMO_STATE_").lower() for name, value in demo_pb2.DemoState.items()}
MOVING = frozenset({"enabling", "disabling"})

_SENTIMENTS = ("positive", "neutral", "negative")
_DEMO_MESSAGES = {
    "enabling": "Demo mode is being enabled.",
    "enabled": "Demo mode is active.",
    "disabling": "Demo mode is being disabled.",
    "failed": "Demo mode failed.",
}


def demo_state(demo: demo_pb2.Demo) -> str:
    """Where demo mode stands, in one word."""
    return DEMO_STATES[demo.state]


def demo_status(demo: demo_pb2.Demo, moved_by: job_pb2.Job | None) -> Json:
    """How demo mode stands; `moved_by` is the job that moves it, if it can be read."""
    state = demo_state(demo)
    if moved_by is not None and (state not in MOVING | {"failed"} or moved_by.job_id != demo.job_id):
        moved_by = None
    job_status = job_state(moved_by) if moved_by else "pending" if state in MOVING else None
    return {
        "status": state,
        "demo_mode": state == "enabled",
        "job_id": demo.job_id or None,
        "job_kind": demo.job_kind or None,
        "job_status": job_status,
        "progress": progress(moved_by) if moved_by else None,
        "profile": _profile(demo.profile) if demo.HasField("profile") else None,
        "error": times.error(demo.error) if demo.HasField("error") else None,
        "stats": {
            "content": demo.stats.content_count,
            "interactions": demo.stats.interaction_count,
            "content_written": demo.stats.content_written,
            "interactions_written": demo.stats.interactions_written,
            "removed_content": demo.stats.content_removed,
            "removed_interactions": demo.stats.interactions_removed,
        },
        "version": demo.version,
        "enabled_at": times.optional_time(demo, "enable_time"),
        "expires_at": times.optional_time(demo, "expire_time"),
        "message": _demo_message(state, demo),
    }


def demo_accepted(demo: demo_pb2.Demo, job_id: str) -> Json:
    """The answer to an accepted enable or disable."""
    state = demo_state(demo)
    return {"status": state, "job_id": job_id, "message": _demo_message(state, demo)}


def demo_example(found: demo_service_pb2.PreviewDemoResponse) -> Json:
    """An example of what demo mode would show."""
    return {
        "profile": _profile(found.profile),
        "content": content(demo_service_pb2.ListContentResponse(content=found.content))["content"],
        "interactions": interactions(demo_service_pb2.ListInteractionsResponse(interactions=found.interactions))[
            "interactions"
        ],
    }


def content(page: demo_service_pb2.ListContentResponse) -> Json:
    """A page of content items."""
    return {
        "content": [
            {
                "content_id": item.content_id,
                "platform": item.platform,
                "title": item.title,
                "published_at": times.optional_time(item, "publish_time"),
                "views": item.views,
                "likes": item.likes,
                "interaction_count": item.interaction_count,
            }
            for item in page.content
        ],
        "next_page_token": page.next_page_token,
    }


def interactions(page: demo_service_pb2.ListInteractionsResponse) -> Json:
    """A page of interactions."""
    return {
        "interactions": [
            {
                "interaction_id": item.interaction_id,
                "kind": item.kind,
                "platform": item.platform,
                "author": {"name": item.author_name, "handle": item.author_handle},
                "text": item.text,
                "rating": item.rating if item.HasField("rating") else None,
                "sentiment": item.sentiment,
                "replied": item.replied,
                "reply_text": item.reply_text or None,
                "needs_reply": item.needs_reply,
                "occurred_at": times.optional_time(item, "occur_time"),
                "likes": item.likes,
                "content": {"content_id": item.content_id, "title": item.content_title},
            }
            for item in page.interactions
        ],
        "next_page_token": page.next_page_token,
    }


def dashboard(numbers: demo_service_pb2.GetDashboardResponse) -> Json:
    """The dashboard's numbers."""
    return {
        "demo": numbers.demo,
        "content_count": numbers.content_count,
        "interaction_count": numbers.interaction_count,
        "average_rating": numbers.average_rating if numbers.HasField("average_rating") else None,
        "rating_counts": _counts(numbers.rating_counts, range(1, 6)),
        "response_rate": numbers.response_rate if numbers.HasField("response_rate") else None,
        "needs_reply": numbers.needs_reply_count,
        "sentiment": _counts(numbers.sentiment_counts, _SENTIMENTS),
        "views": numbers.views,
        "likes": numbers.likes,
        "interactions_per_day": [
            {"date": day.date, "count": day.count, "sentiment": _counts(day.sentiment_counts, _SENTIMENTS)}
            for day in numbers.interactions_per_day
        ],
        "computed_at": times.optional_time(numbers, "compute_time"),
    }


def _profile(profile: demo_pb2.DemoProfile) -> Json:
    return {
        "profile_type": profile.profile_type,
        "niche": profile.niche,
        "name": profile.name,
        "handle": profile.handle,
        "tagline": profile.tagline,
        "avatar": profile.avatar,
        "platforms": list(profile.platforms),
    }


def _demo_message(state: str, demo: demo_pb2.Demo) -> str:
    if state == "failed" and demo.error.message:
        return demo.error.message
    if state in _DEMO_MESSAGES:
        return _DEMO_MESSAGES[state]
    removed = demo.stats
    if removed.interactions_removed or removed.content_removed:
        return (
            f"Demo mode is off: {removed.interactions_removed:,} interactions,"
            f" {removed.content_removed:,} content items removed."
        )
    return "Demo mode is off."


def _counts(counts: Mapping[Any, int], names: Iterable[Any]) -> dict[str, int]:
    return {str(name): counts.get(name, 0) for name in names}
