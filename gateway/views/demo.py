"""Demo mode."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from chassis import protobuf
from gateway.plurals import counted
from gateway.views import derive, times
from gateway.views.content import ContentItem, Interaction, content, interactions
from gateway.views.jobs import JobStatus, Progress, job_state, progress
from gateway.views.times import ErrorInfo
from repruv.demo.v1 import demo_pb2, demo_service_pb2
from repruv.jobs.v1 import job_pb2

DemoState = Literal["disabled", "enabling", "enabled", "disabling", "failed"]

DEMO_STATES: dict[demo_pb2.DemoState.ValueType, DemoState] = protobuf.enum_names(demo_pb2.DemoState.DESCRIPTOR)
DEMO_TRANSITIONAL = frozenset({"enabling", "disabling"})

_DEMO_MESSAGES = {
    "enabling": "Demo mode is being enabled.",
    "enabled": "Demo mode is active.",
    "disabling": "Demo mode is being disabled.",
    "failed": "Demo mode failed.",
}


class DemoAccepted(TypedDict):
    """An accepted request; the job does the work."""

    status: DemoState
    job_id: str
    message: str


class DemoProfile(TypedDict):
    """Who the demo data pretends the user to be."""

    profile_type: str
    niche: str
    name: str
    handle: str
    tagline: str
    avatar: str
    platforms: list[str]


class DemoStats(TypedDict):
    """Rows requested, written so far, and removed by the latest disable."""

    content: Annotated[int, derive.Of("content_count")]
    interactions: Annotated[int, derive.Of("interaction_count")]
    content_written: int
    interactions_written: int
    removed_content: Annotated[int, derive.Of("content_removed")]
    removed_interactions: Annotated[int, derive.Of("interactions_removed")]


class DemoStatus(TypedDict):
    """The state of demo mode."""

    status: DemoState
    demo_mode: bool
    job_id: str | None
    job_kind: Annotated[str | None, Field(examples=["demo.enable"])]
    job_status: JobStatus | None
    progress: Progress | None
    profile: DemoProfile | None
    error: ErrorInfo | None
    stats: DemoStats
    version: int
    enabled_at: str | None
    expires_at: Annotated[str | None, Field(description="When it is disabled automatically; null: never.")]
    message: str


class DemoExample(TypedDict):
    """An example of what demo mode would show."""

    profile: DemoProfile
    content: list[ContentItem]
    interactions: list[Interaction]


def demo_state(demo: demo_pb2.Demo) -> DemoState:
    """Return the state of demo mode."""
    return DEMO_STATES[demo.state]


def demo_status(demo: demo_pb2.Demo, job: job_pb2.Job | None) -> DemoStatus:
    """Return the status of demo mode; `job` is the job of its transition, None if that could not be read."""
    state = demo_state(demo)
    if job is not None and (state not in DEMO_TRANSITIONAL | {"failed"} or job.job_id != demo.job_id):
        job = None
    job_status = job_state(job) if job else "pending" if state in DEMO_TRANSITIONAL else None
    return {
        "status": state,
        "demo_mode": state == "enabled",
        "job_id": demo.job_id or None,
        "job_kind": demo.job_kind or None,
        "job_status": job_status,
        "progress": progress(job) if job else None,
        "profile": _profile(demo.profile) if demo.HasField("profile") else None,
        "error": times.error(demo.error) if demo.HasField("error") else None,
        "stats": _stats(demo.stats),
        "version": demo.version,
        "enabled_at": times.optional_time(demo, "enable_time"),
        "expires_at": times.optional_time(demo, "expire_time"),
        "message": _demo_message(state, demo),
    }


def demo_accepted(demo: demo_pb2.Demo, job_id: str) -> DemoAccepted:
    """Return the answer to an accepted enable or disable."""
    state = demo_state(demo)
    return {"status": state, "job_id": job_id, "message": _demo_message(state, demo)}


def demo_example(preview: demo_service_pb2.PreviewDemoResponse) -> DemoExample:
    """Return an example of what demo mode would show."""
    return {
        "profile": _profile(preview.profile),
        "content": content(demo_service_pb2.ListContentResponse(content=preview.content))["content"],
        "interactions": interactions(demo_service_pb2.ListInteractionsResponse(interactions=preview.interactions))[
            "interactions"
        ],
    }


_profile = derive.view(DemoProfile, demo_pb2.DemoProfile)
_stats = derive.view(DemoStats, demo_pb2.DemoStats)


def _demo_message(state: str, demo: demo_pb2.Demo) -> str:
    if state == "failed" and demo.error.message:
        return demo.error.message
    if state in _DEMO_MESSAGES:
        return _DEMO_MESSAGES[state]
    stats = demo.stats
    if stats.interactions_removed or stats.content_removed:
        return (
            f"Demo mode is disabled: {counted(stats.interactions_removed, 'interaction')},"
            f" {counted(stats.content_removed, 'content item')} removed."
        )
    return "Demo mode is disabled."
