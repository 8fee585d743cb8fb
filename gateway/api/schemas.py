"""The shapes of the API: bodies are validated by them, answers documented (`gateway.views` writes those)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL")
    # JSON can spell half a character ("\ud800"), which neither protobuf nor PostgreSQL takes.
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must not contain lone surrogates")
    return text


Text = Annotated[str, AfterValidator(_storable)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
JobStatus = Literal["scheduled", "pending", "running", "retrying", "cancelling", "completed", "failed", "cancelled"]
DemoState = Literal["disabled", "enabling", "enabled", "disabling", "failed"]


class Body(BaseModel):
    """What clients send: nothing is converted, nothing unknown is ignored."""

    model_config = ConfigDict(strict=True, extra="forbid")


class EnableDemo(Body):
    """Which demo data to make."""

    profile_type: Text = Field("auto", description="`auto`, `creator`, `brand` or `local_business`.")
    niche: Text = Field("auto", description="`auto` or a niche.", examples=["tech_reviews"])
    content_count: Count | None = Field(
        None,
        description="Content items, 1 to 1,000; 60 unless given.",
        json_schema_extra={"minimum": 1, "maximum": 1_000},
    )
    interaction_count: Count | None = Field(
        None, description="Interactions, 0 to 100,000; 2,000 unless given.", json_schema_extra={"maximum": 100_000}
    )
    expires_in_seconds: int | None = Field(
        None, ge=600, le=7_776_000, description="Disable it by itself so long after it was enabled; never unless given."
    )


class Error(BaseModel):
    """Why something failed."""

    code: str = Field(examples=["attempt_timeout"])
    message: str


class Progress(BaseModel):
    """How far a job has come."""

    done: int
    total: int = Field(description="0 while unknown.")
    percent: int = Field(ge=0, le=100)
    message: str


class Children(BaseModel):
    """How many jobs a job has submitted as its children, how many of those ended, and how many of them without success."""

    total: int
    ended: int
    unsuccessful: int


class Job(BaseModel):
    """A long operation. Of two snapshots the one with the higher `version` is the newer."""

    job_id: str
    kind: str = Field(examples=["demo.enable"])
    status: JobStatus
    progress: Progress
    attempt: int
    max_attempts: int
    errors: int = Field(description="Attempts that ended in an error since it was submitted or retried.")
    created_at: str | None
    started_at: str | None
    finished_at: str | None
    duration_seconds: float | None
    estimated_finish_at: str | None = Field(description="At the rate of the last seconds; null while that is unknown.")
    next_run_at: str | None = Field(description="When it can begin next; set while it is scheduled or retrying.")
    deadline_at: str | None = Field(description="When it must have ended.")
    parent_id: str | None
    children: Children | None
    result: dict[str, object] | None
    error: Error | None
    cancel_reason: str | None
    cancellable: bool
    retryable: bool
    version: int


class Jobs(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[Job]
    next_page_token: str = Field(description="Empty on the last page.")


class Notification(BaseModel):
    """A job that ended and that its owner has not read of yet."""

    notification_id: str
    job_id: str
    kind: str = Field(examples=["demo.enable"])
    status: Literal["completed", "failed", "cancelled"]
    message: str = Field(description="One sentence for the user.")
    error: Error | None
    finished_at: str | None
    read: Literal[False]


class Notifications(BaseModel):
    """A page of unread notifications, the latest first."""

    notifications: list[Notification]
    unread_count: int = Field(description="In all; more than 100 count as 100.")
    next_page_token: str = Field(description="Empty on the last page.")


class Attempt(BaseModel):
    """One run of a job's handler."""

    attempt: int
    worker: str
    started_at: str | None
    finished_at: str | None
    outcome: Literal["completed", "failed", "cancelled", "released", "snoozed", "waiting", "crashed"] | None
    error: Error | None


class Transition(BaseModel):
    """One change of a job's state; `sequence` is the id of the event that told of it."""

    sequence: int
    status: JobStatus
    attempt: int
    reason: str
    occurred_at: str | None


class JobHistory(BaseModel):
    """What happened to a job, oldest first."""

    job_id: str
    attempts: list[Attempt]
    transitions: list[Transition]


class DemoAccepted(BaseModel):
    """An accepted request; the job does the work."""

    status: DemoState
    job_id: str
    message: str


class DemoProfile(BaseModel):
    """Who the demo data pretends the user to be."""

    profile_type: str
    niche: str
    name: str
    handle: str
    tagline: str
    avatar: str
    platforms: list[str]


class DemoStats(BaseModel):
    """Rows asked for, written so far, and removed by the latest disable."""

    content: int
    interactions: int
    content_written: int
    interactions_written: int
    removed_content: int
    removed_interactions: int


class DemoStatus(BaseModel):
    """How demo mode stands."""

    status: DemoState
    demo_mode: bool
    job_id: str | None
    job_kind: str | None = Field(examples=["demo.enable"])
    job_status: JobStatus | None
    progress: Progress | None
    profile: DemoProfile | None
    error: Error | None
    stats: DemoStats
    version: int
    enabled_at: str | None
    expires_at: str | None = Field(description="When it is disabled by itself; null: never.")
    message: str
